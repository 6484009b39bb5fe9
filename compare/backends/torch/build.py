"""A network of the tutorial by neutral options, with any of its remedies left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bn_torch.cnn import FlattenChannelsLast, build_cnn
from bn_torch.lstm import LSTMClassifier, build_lstm
from bn_torch.mlp import build_mlp
from bn_torch.module import BinaryClassifier
from bn_torch.norm import BiasedBatchNorm

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


_TORCH_MOMENTUM, _TORCH_EPS = 0.1, 1e-5
_KERAS_DECAY, _KERAS_EPSILON = 0.99, 1e-3


def build(
    family: str,
    options: Mapping[str, object],
    *,
    seed: int,
    sgd: Mapping[str, float],
    undone: Collection[str],
) -> BinaryClassifier:
    """A LightningModule with Torch's own initial weights.

    Args:
        family: `"mlp"`, `"cnn"` or `"lstm"`.
        options: Arguments of the builder, with `decay`, one minus Torch's `momentum`.
        seed: Seed of Torch's initializers.
        sgd: `learning_rate` and `momentum`.
        undone: Conventions whose remedy is left out.
    """
    torch.manual_seed(seed)
    choices: dict[str, Any] = {name: v for name, v in options.items() if name != "decay"}
    choices["momentum"] = _momentum(options.get("decay"), undone)
    choices["eps"] = _TORCH_EPS if "bn-epsilon" in undone else _KERAS_EPSILON
    if "bn-affine" in undone:
        choices.pop("affine", None)
    stock = nn.BatchNorm2d if family == "cnn" else nn.BatchNorm1d
    choices["norm_layer"] = stock if "bn-biased-variance" in undone else BiasedBatchNorm
    if family == "cnn":
        choices["flatten_layer"] = nn.Flatten if "flatten-order" in undone else FlattenChannelsLast
        model: nn.Module = build_cnn(**choices)
    elif family == "lstm":
        model = build_lstm(**choices, single_bias="lstm-single-bias" not in undone)
    else:
        model = build_mlp(**choices)
    return classifier(model, undone, **sgd)


def _momentum(decay: object, undone: Collection[str]) -> float:
    """Torch's momentum. A naive port copies the tutorial's number where it writes one."""
    share_kept = _KERAS_DECAY if decay is None else float(decay)  # type: ignore[arg-type]
    default = "bn-momentum" in undone and (decay is None or "bn-momentum-copied" not in undone)
    if default:
        return _TORCH_MOMENTUM
    return share_kept if "bn-momentum-copied" in undone else 1.0 - share_kept


_on_gpu = False


def configure(*, dtype: str, threads: int, accelerator: str = "cpu") -> None:
    """Set the dtype, the number of threads and the device of this process.

    Args:
        dtype: `"float32"` or `"float64"`, for modules built from now on.
        threads: Threads per operation.
        accelerator: `"cpu"`, or `"gpu"` for timed fits to use one where there is one; everything
            else stays on the CPU.
    """
    global _on_gpu
    torch.set_default_dtype(getattr(torch, dtype))
    torch.set_num_threads(threads)
    _on_gpu = accelerator == "gpu" and torch.cuda.is_available()


def accelerator() -> str:
    """The device that computes here: `"cpu"`, or the name of an accelerator."""
    return torch.cuda.get_device_name() if _on_gpu else "cpu"


def precision() -> str:
    """What a `Trainer` is told about the dtype."""
    return "64-true" if torch.get_default_dtype() == torch.float64 else "32-true"


def chosen() -> torch.device:
    """The device of timed fits."""
    return torch.device("cuda" if _on_gpu else "cpu")


def wait() -> None:
    """Wait until the device has computed everything it was given."""
    if _on_gpu:
        torch.cuda.synchronize()
