"""The circles as a LightningDataModule, in an order that can be decided beforehand."""

from __future__ import annotations

from collections.abc import Iterator

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, TensorDataset

Arrays = tuple[np.ndarray, np.ndarray]


class PlannedSampler(Sampler[int]):
    """Yields the samples in an order given for every epoch.

    Lightning calls `set_epoch` before each epoch, as it does for a `DistributedSampler`.

    Args:
        orders: `(epochs, samples)`: a permutation of the samples for every epoch.
    """

    def __init__(self, orders: np.ndarray) -> None:
        self.orders = orders
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(self.orders[self.epoch].tolist())

    def __len__(self) -> int:
        return int(self.orders.shape[1])


class CirclesDataModule(L.LightningDataModule):
    """Arrays in, ordered loaders out.

    Args:
        train: Samples (N, …) as the network takes them, and labels (N,) in {0, 1}; numbers of any
            dtype, turned into Torch's default one.
        test: The same for the other half, for validation and test; None for none.
        orders: `(epochs, N)`, the order of the training samples in every epoch; None to shuffle.
        batch_size: Samples per batch.
        drop_last: Whether a short last batch is dropped; Keras keeps it.
    """

    def __init__(
        self,
        train: Arrays,
        test: Arrays | None = None,
        *,
        orders: np.ndarray | None = None,
        batch_size: int = 32,
        drop_last: bool = False,
    ) -> None:
        super().__init__()
        self.train, self.test = _dataset(train), None if test is None else _dataset(test)
        self.orders, self.batch_size, self.drop_last = orders, batch_size, drop_last

    def train_dataloader(self) -> DataLoader:
        return DataLoader(
            self.train,
            batch_size=self.batch_size,
            shuffle=self.orders is None,
            sampler=None if self.orders is None else PlannedSampler(self.orders),
            drop_last=self.drop_last,
        )

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        return [] if self.test is None else DataLoader(self.test, batch_size=self.batch_size)

    def test_dataloader(self) -> DataLoader | list[DataLoader]:
        return self.val_dataloader()


def _dataset(arrays: Arrays) -> TensorDataset:
    dtype = torch.get_default_dtype()
    x, y = (torch.as_tensor(array, dtype=dtype) for array in arrays)
    return TensorDataset(x, y.unsqueeze(1))


def channels_first(x: np.ndarray) -> np.ndarray:
    """Images from Keras' layout, (n, h, w, c), to Torch's, (n, c, h, w); others as they are."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x
