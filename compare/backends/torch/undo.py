"""Remedies left out on purpose, so that the effect of each can be measured.

Here are the conventions that need no other layers, by their names in `compare`'s catalogue. Those
that do are chosen where the network is built.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from bn_torch.lstm import LSTMClassifier
from bn_torch.module import BinaryClassifier

_TORCH_LEARNING_RATE = 1e-3


def classifier(
    model: nn.Module, undone: Collection[str], *, learning_rate: float, momentum: float
) -> BinaryClassifier:
    """The module to train: the plain one where every remedy is in place.

    Args:
        model: Maps a batch of samples to logits, (N, 1).
        undone: Conventions whose remedy is left out.
        learning_rate: Step size of SGD, > 0.
        momentum: Momentum of SGD, in [0, 1).
    """
    if not undone:
        return BinaryClassifier(model, learning_rate, momentum)
    if "sgd-default-learning-rate" in undone:
        learning_rate = _TORCH_LEARNING_RATE
    if "lstm-batch-first" in undone and isinstance(model, LSTMClassifier):
        model.lstm.batch_first = False
    return UnremediedClassifier(model, learning_rate, momentum, undone=frozenset(undone))


def undone_in(handle: BinaryClassifier) -> frozenset[str]:
    """The conventions whose remedy a module was built without."""
    return handle.undone if isinstance(handle, UnremediedClassifier) else frozenset()


class UnremediedClassifier(BinaryClassifier):
    """A `BinaryClassifier` that leaves out the remedies named in `undone`.

    Args:
        model: Maps a batch of samples to logits, (N, 1).
        learning_rate: Step size of SGD, > 0.
        momentum: Momentum of SGD, in [0, 1).
        undone: Conventions whose remedy is left out.
    """

    def __init__(
        self, model: nn.Module, learning_rate: float, momentum: float, *, undone: frozenset[str]
    ) -> None:
        super().__init__(model, learning_rate, momentum)
        self.undone = undone

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        # The sum drives the steps; what is logged stays the mean, as the usual loops report it.
        return loss * len(batch[0]) if "loss-reduction" in self.undone else loss

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        if "epoch-metrics" in self.undone:
            # Lightning weighs steps by their batch size; the same size for all weighs them alike.
            kwargs["batch_size"] = 1
        super().log(name, value, *args, **kwargs)

    def on_train_start(self) -> None:
        if "train-mode" in self.undone:
            self.model.eval()


def misplaced(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights such that writing them puts Keras' numbers into Torch's kernels in memory order.

    That is what `reshape` does where a transposition was needed: it only makes the shapes fit.

    Args:
        weights: Canonical name → array in Keras' layout.
    """
    return {
        name: _reshaped(array) if name.endswith("kernel") else array
        for name, array in weights.items()
    }


def _reshaped(kernel: np.ndarray) -> np.ndarray:
    to_torch = (1, 0) if kernel.ndim == 2 else (3, 2, 0, 1)
    shape = [kernel.shape[axis] for axis in to_torch]
    return kernel.reshape(shape).transpose(np.argsort(to_torch))
