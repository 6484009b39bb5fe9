import keras
import numpy as np

import bn_keras
from compare.study.initial import batch_orders


class SeesBatches(keras.Model):
    """Learns nothing; keeps the first feature of every batch that `fit` hands to it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def train_step(self, data):
        x, _ = data
        self.seen.append(x[:, 0].numpy().astype(int).tolist())
        return {"loss": keras.ops.mean(x)}


def test_fit_sees_the_planned_batches_from_the_first_epoch_on():
    n, epochs = 23, 3
    orders = batch_orders(n, epochs=epochs, seed=5)
    x = np.arange(n, dtype=float)[:, None]
    model = SeesBatches()
    model.compile(run_eagerly=True)
    batches = bn_keras.PlannedBatches(x, x, orders, batch_size=10)
    bn_keras.fit(model, batches)
    expected = [order[i : i + 10].tolist() for order in orders for i in (0, 10, 20)]
    assert [list(batch) for batch in model.seen] == expected
    assert [len(batch) for batch in model.seen[:3]] == [10, 10, 3]
