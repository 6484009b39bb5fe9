"""Anybody's module: what `compare` asks of one that is not ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import nn

from bn_torch.module import BinaryClassifier
from compare.backends.torch import arrangement, describing, probe
from compare.backends.torch.objective import Objective
from compare.backends.torch.recording import Sink
from compare.backends.torch.weights import weighted_layers

Structure = Any
"""An array, or a tuple, list or dictionary of them."""


def network(module: nn.Module) -> nn.Module:
    """The part whose layers count: the network within ours, or what `torch.compile` was given."""
    module = getattr(module, "_orig_mod", module)
    return module.model if isinstance(module, BinaryClassifier) else module


def trace_any(
    module: nn.Module,
    batches: Sequence[tuple[Structure, Structure | None]],
    sink: Sink,
    *,
    objective: tuple[Any, Any] | None = None,
    to_torch: Callable[[Structure], Structure] | None = None,
    targets_to_torch: Callable[[Structure], Structure] | None = None,
) -> list[dict[str, Any]]:
    """Record a training step per batch of anybody's module; see `torch.probe.trace`.

    Args:
        module: A LightningModule, or a plain module with an `objective`.
        batches: Samples and targets in Keras' layout; targets None to compare without training.
        sink: Receives every array under its name.
        objective: `loss(output, target)` and `optimizer(parameters)` of a plain module.
        to_torch: Samples from Keras' layout to the module's. None to put channels on axis 1: of
            images where the module works on images, of series where its first layer does.
        targets_to_torch: The same for targets. None to move channels where that gives the shape
            that the module returns.

    Raises:
        TypeError: No rule is known for a layer with weights of its own.
        ValueError: There is nothing to train with, or `to_torch` raises.
    """
    module = getattr(module, "_orig_mod", module)
    weighted_layers(network(module))  # What has no weights yet is told before anything runs.
    x, y = batches[0]
    if objective is not None:
        whole: nn.Module = Objective(module, *objective)
        whole.training = module.training
    elif y is None or is_lightning(module):
        whole = module
    else:
        raise ValueError(
            f"{type(module).__name__} is a plain module: training it takes a loss and an optimizer"
        )
    samples = _given("to_torch", to_torch) or arrangement.of_samples(module, x)
    targets = _given("targets_to_torch", targets_to_torch)
    if targets is None and y is not None:
        targets = arrangement.of_targets(module, samples.to_torch(x), y)

    tensors = [
        (samples.to_torch(x), None if y is None or targets is None else targets.to_torch(y))
        for x, y in batches
    ]

    def back(step: int, x: Structure, y: Structure) -> tuple[Structure, Structure]:
        # What the user's own map does cannot be undone: the record has what it was given.
        ours = batches[step - 1]
        return (
            ours[0] if to_torch is not None else samples.to_keras(x),
            ours[1] if targets_to_torch is not None or targets is None else targets.to_keras(y),
        )

    return probe.trace(whole, network(module), tensors, sink, to_keras=back)


def _given(
    name: str, function: Callable[[Structure], Structure] | None
) -> arrangement.Arrangement | None:
    if function is None:
        return None

    def to_torch(structure: Structure) -> Structure:
        try:
            return arrangement.unchanged(function(structure))
        except Exception as error:
            raise ValueError(f"{name} raised {type(error).__name__}: {error}") from error

    return arrangement.Arrangement(to_torch, lambda structure: structure)


def describe(module: nn.Module, x: Structure) -> list[dict[str, Any]]:
    """The layers in the order of one forward pass; see `torch.describing.describe`."""
    return describing.describe(network(module), x)


def dtype_of(module: nn.Module) -> str:
    """The dtype that a module computes in: `"float32"` or `"float64"`.

    Raises:
        TypeError: It is not a Torch module, has parameters of several dtypes, or of another one.
    """
    if not is_model(module):
        raise TypeError(f"expected a torch.nn.Module, received {type(module).__name__}")
    found: dict[str, str] = {}
    for name, parameter in module.named_parameters():
        found.setdefault(str(parameter.dtype).removeprefix("torch."), name)
    if len(found) > 1:
        where = ", ".join(f"{dtype} (such as {name})" for dtype, name in sorted(found.items()))
        raise TypeError(
            f"the module has parameters of several dtypes: {where}; "
            "make them one with module.float() or module.double()"
        )
    dtype = next(iter(found), "float32")
    if dtype not in ("float32", "float64"):
        raise TypeError(
            f"the module computes in {dtype}, expected float32 or float64: "
            "use module.float() or module.double()"
        )
    return dtype


def is_model(thing: object) -> bool:
    """Whether something is a Torch module."""
    return isinstance(thing, nn.Module)


def is_lightning(module: nn.Module) -> bool:
    """Whether a module brings its own training step and optimizer."""
    return isinstance(module, L.LightningModule)


@contextmanager
def building(dtype: str) -> Iterator[None]:
    """Modules built within are in this dtype.

    Args:
        dtype: `"float32"` or `"float64"`.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)
