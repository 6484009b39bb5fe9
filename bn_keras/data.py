"""Batches in an order that is decided beforehand, for `model.fit`."""

from __future__ import annotations

import math

import keras
import numpy as np


class PlannedBatches(keras.utils.PyDataset):
    """Arrays cut into batches, in an order given for every epoch.

    `fit` peeks at two batches and calls `on_epoch_end` *before* the first epoch (keras
    `py_dataset_adapter.py`), so counting calls would be off by one: pass `callback` to `fit`,
    which tells the dataset where it stands.

    Args:
        x: Samples along axis 0.
        y: One label per sample.
        orders: `(epochs, samples)`: a permutation of the samples for every epoch.
        batch_size: Samples per batch; the last batch is shorter where they do not divide.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, orders: np.ndarray, batch_size: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.x, self.y, self.orders, self.batch_size = x, y, orders, batch_size
        self.epoch = 0
        self.callback = keras.callbacks.LambdaCallback(on_epoch_begin=self._begin)

    def _begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.x) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        start = index * self.batch_size
        chosen = self.orders[self.epoch, start : start + self.batch_size]
        return self.x[chosen], self.y[chosen]
