import warnings

import lightning as L
import numpy as np
import pytest
import torch

import bn_torch
from compare.study.initial import batch_orders


class SeesBatches(L.LightningModule):
    """Learns nothing; keeps the first feature of every batch that the Trainer hands to it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch[0][:, 0].int().tolist())
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        raise AssertionError("there is nothing to validate on")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_the_trainer_sees_the_planned_batches_from_the_first_epoch_on():
    n = 23
    orders = batch_orders(n, epochs=3, seed=5)
    x = np.arange(n, dtype=np.float32)[:, None]
    module = SeesBatches()
    data = bn_torch.CirclesDataModule((x, x[:, 0]), orders=orders, batch_size=10)
    bn_torch.fit(module, data, epochs=3)
    expected = [order[i : i + 10].tolist() for order in orders for i in (0, 10, 20)]
    assert module.seen == expected


def test_without_orders_it_shuffles_and_keeps_the_short_batch():
    x = np.arange(23, dtype=np.float32)[:, None]
    loader = bn_torch.CirclesDataModule((x, x[:, 0]), batch_size=10).train_dataloader()
    batches = [batch[0][:, 0].int().tolist() for batch in loader]
    assert [len(b) for b in batches] == [10, 10, 3]
    assert sorted(i for batch in batches for i in batch) == list(range(23))


def test_validation_runs_on_the_test_half():
    rng = np.random.default_rng(0)
    # Labels as scikit-learn returns them: whole numbers.
    x, y = rng.normal(size=(20, 2)).astype(np.float32), np.repeat([0, 1], 10)
    module = bn_torch.BinaryClassifier(bn_torch.build_mlp("after"))
    data = bn_torch.CirclesDataModule((x, y), (x, y), batch_size=10)
    trainer = bn_torch.fit(module, data, epochs=1)
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy"} <= set(
        trainer.callback_metrics
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own, which `bn_torch.fit` knows about.
        predicted = trainer.predict(module, data.test_dataloader())
    assert [p.shape for p in predicted] == [(10, 1), (10, 1)]
    assert all(((p > 0) & (p < 1)).all() for p in predicted)


def test_a_test_is_not_reported_as_validation():
    x, y = np.zeros((20, 2)), np.ones(20)
    model = bn_torch.BinaryClassifier(bn_torch.build_mlp())
    data = bn_torch.CirclesDataModule((x, y), (x, y), batch_size=10)
    trainer = bn_torch.fit(model, data, epochs=1)
    validated = trainer.callback_metrics["val_loss"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own, which `bn_torch.fit` knows about.
        (metrics,) = trainer.test(model, datamodule=data, verbose=False)
    assert set(metrics) == {"test_loss", "test_accuracy"}
    assert metrics["test_loss"] == pytest.approx(validated.item())
