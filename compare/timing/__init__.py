"""`bn-compare time`: `model.fit` and `Trainer.fit` under a clock."""
