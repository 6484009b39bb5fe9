"""Networks of the tutorial by neutral options, with any remedy left out; dtype and device.

`build` maps the options to the builders of `bn_torch`. A remedy that is no argument of a builder is
left out by `UnremediedClassifier`, by `misplaced`, or by whoever asks `undone_in`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from bn_torch.cnn import FlattenChannelsLast, build_cnn
from bn_torch.lstm import build_lstm
from bn_torch.mlp import build_mlp
from bn_torch.module import BinaryClassifier
from bn_torch.norm import BiasedBatchNorm
from compare.data import Array

_TORCH_MOMENTUM, _TORCH_EPS, _TORCH_LEARNING_RATE = 0.1, 1e-5, 1e-3
_KERAS_DECAY, _KERAS_EPSILON = 0.99, 1e-3


def build(
    family: str,
    options: Mapping[str, Any],
    *,
    seed: int,
    sgd: Mapping[str, float],
    undone: Collection[str],
) -> BinaryClassifier:
    """A LightningModule with Torch's own initial weights."""
    torch.manual_seed(seed)
    choices = {name: value for name, value in options.items() if name != "decay"}
    choices["momentum"] = _momentum(options.get("decay"), undone)
    choices["eps"] = _TORCH_EPS if "bn-epsilon" in undone else _KERAS_EPSILON
    if "bn-affine" in undone:
        choices.pop("affine", None)
    stock = nn.BatchNorm2d if family == "cnn" else nn.BatchNorm1d
    choices["norm_layer"] = stock if "bn-biased-variance" in undone else BiasedBatchNorm
    model: nn.Module
    if family == "cnn":
        choices["flatten_layer"] = nn.Flatten if "flatten-order" in undone else FlattenChannelsLast
        model = build_cnn(**choices)
    elif family == "lstm":
        lstm = build_lstm(**choices, single_bias="lstm-single-bias" not in undone)
        lstm.lstm.batch_first = "lstm-batch-first" not in undone
        model = lstm
    else:
        model = build_mlp(**choices)
    rate, momentum = sgd["learning_rate"], sgd["momentum"]
    if "sgd-default-learning-rate" in undone:
        rate = _TORCH_LEARNING_RATE
    if not undone:
        return BinaryClassifier(model, rate, momentum)
    return UnremediedClassifier(model, rate, momentum, undone=frozenset(undone))


def _momentum(decay: float | None, undone: Collection[str]) -> float:
    """Torch's momentum. A naive port copies the tutorial's number where it writes one."""
    share_kept = _KERAS_DECAY if decay is None else float(decay)
    copied = "bn-momentum-copied" in undone
    if "bn-momentum" in undone and (decay is None or not copied):
        return _TORCH_MOMENTUM
    return share_kept if copied else 1.0 - share_kept


def undone_in(handle: nn.Module) -> frozenset[str]:
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


def misplaced(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Weights such that writing them puts Keras' numbers into Torch's kernels in memory order.

    That is what `reshape` does where a transposition was needed: it only makes the shapes fit.

    Args:
        weights: Canonical name → array in Keras' layout.
    """
    arrays = dict(weights)
    for name, kernel in weights.items():
        if name.endswith("kernel"):
            to_torch = (1, 0) if kernel.ndim == 2 else (3, 2, 0, 1)
            shape = [kernel.shape[axis] for axis in to_torch]
            arrays[name] = kernel.reshape(shape).transpose(np.argsort(to_torch))
    return arrays


_on_gpu = False


def configure(*, dtype: str, threads: int, accelerator: str = "cpu") -> None:
    """Set the dtype, the number of threads and the device of this process."""
    global _on_gpu
    torch.set_default_dtype(getattr(torch, dtype))
    torch.set_num_threads(threads)
    _on_gpu = accelerator == "gpu" and torch.cuda.is_available()


@contextmanager
def with_threads(count: int) -> Iterator[None]:
    """An operation takes so many threads within."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def building(dtype: str) -> Iterator[None]:
    """Modules built within are in this dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def accelerator() -> str:
    """The device that computes here: `"cpu"`, or the name of an accelerator."""
    return torch.cuda.get_device_name() if _on_gpu else "cpu"


def precision() -> Literal["64-true", "32-true"]:
    """What a `Trainer` is told about the dtype."""
    return "64-true" if torch.get_default_dtype() == torch.float64 else "32-true"


def device() -> torch.device:
    """The device of timed fits."""
    return torch.device("cuda" if _on_gpu else "cpu")


def wait() -> None:
    """Wait until the device has computed everything it was given."""
    if _on_gpu:
        torch.cuda.synchronize()


def versions() -> dict[str, str]:
    """Versions of what computes here."""
    return {"torch": torch.__version__, "lightning": L.__version__}


def is_model(thing: object) -> bool:
    """Whether something is a Torch module."""
    return isinstance(thing, nn.Module)


def dtype_of(module: nn.Module) -> str:
    """The dtype that a module computes in: `"float32"` or `"float64"`."""
    if not is_model(module):
        raise TypeError(f"expected a torch.nn.Module, received {type(module).__name__}")
    examples: dict[str, str] = {}
    for name, parameter in module.named_parameters():
        examples.setdefault(str(parameter.dtype).removeprefix("torch."), name)
    if len(examples) > 1:
        where = ", ".join(f"{dtype} (such as {name})" for dtype, name in sorted(examples.items()))
        raise TypeError(
            f"the module has parameters of several dtypes: {where}; "
            "make them one with module.float() or module.double()"
        )
    dtype = next(iter(examples), "float32")
    if dtype not in ("float32", "float64"):
        raise TypeError(
            f"the module computes in {dtype}, expected float32 or float64: "
            "use module.float() or module.double()"
        )
    return dtype
