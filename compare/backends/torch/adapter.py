"""Torch and Lightning behind the protocol that `compare` knows (`compare.backends.protocol`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn

from bn_torch.data import CirclesDataModule, channels_first
from bn_torch.module import BinaryClassifier
from bn_torch.training import Reporting, fit
from compare.backends.torch import arrangement, bugs, many_seeds, rules, settings, timing, weights
from compare.backends.torch import build as networks
from compare.backends.torch import trace as tracing
from compare.backends.torch.demos import DEMONSTRATIONS
from compare.backends.torch.events import EventLog
from compare.backends.torch.hooks import Sink
from compare.backends.torch.trace import Objective
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
    """Record a training step per batch of anybody's module; see `torch.trace.trace`.

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

    return tracing.trace(whole, network(module), tensors, sink, to_keras=back)


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
    return tracing.describe(network(module), x)


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


# Lightning announces every Trainer and its devices; warnings still pass.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)

build = networks.build
time_fit, configurations = timing.time_fit, timing.configurations
optimizer_settings = settings.optimizer_settings
loss_settings = settings.loss_settings
random_parts = settings.random_parts
add_rule, forget_rule = rules.add_rule, rules.forget_rule
repeats = tracing.repeats


def read_weights(handle: nn.Module) -> dict[str, np.ndarray]:
    """Copies of all weights and running statistics, canonical names, Keras' layout."""
    return weights.read_weights(network(handle))


def write_weights(handle: nn.Module, values: Mapping[str, np.ndarray]) -> None:
    """Set all weights and running statistics; names and shapes as `read_weights` returns them."""
    if "kernel-layout" in networks.undone_in(handle):
        values = networks.misplaced(values)
    weights.write_weights(network(handle), values)


def draw_orders(n: int, *, epochs: int, seed: int) -> np.ndarray:
    """The order of the samples in every epoch, (epochs, n), as Torch's own generator draws it."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(n, generator=generator) for _ in range(epochs)]).numpy()


def train(
    handle: BinaryClassifier,
    data: tuple[np.ndarray, np.ndarray],
    *,
    orders: np.ndarray,
    batch_size: int,
    on_epoch: Callable[[float, float], None],
) -> None:
    """`Trainer.fit` over all epochs.

    Args:
        handle: What `build` returned.
        data: Samples in Keras' layout, and labels, (n,).
        orders: The order of the samples in every epoch, (epochs, n).
        batch_size: Samples per batch; a short last batch is kept.
        on_epoch: Called after every epoch with the running training loss and accuracy.
    """
    x, y = data
    batches = _batches(handle, (channels_first(x), y), orders, batch_size)
    fit(
        handle,
        batches,
        epochs=len(orders),
        callbacks=[Reporting(on_epoch)],
        precision=networks.precision(),
    )


def _batches(
    handle: BinaryClassifier,
    data: tuple[np.ndarray, np.ndarray],
    orders: np.ndarray,
    batch_size: int,
) -> CirclesDataModule:
    drop_last = "last-batch" in networks.undone_in(handle) and len(data[0]) >= batch_size
    return CirclesDataModule(data, orders=orders, batch_size=batch_size, drop_last=drop_last)


def event_log(handle: BinaryClassifier, folder: str) -> EventLog:
    """What writes the curves of a run for TensorBoard; see `torch.events.EventLog`."""
    return EventLog(folder)


def compile_many(
    handle: BinaryClassifier,
    data: tuple[np.ndarray, np.ndarray],
    *,
    batch_size: int,
    views: many_seeds.Views,
) -> many_seeds.ManySeeds:
    """What `fit_many` runs, traced once for any number of seeds; see `torch.fast.ManySeeds`."""
    first = {name: (channels_first(x), mode) for name, (x, mode) in views.items()}
    x, y = data
    return many_seeds.ManySeeds(handle, (channels_first(x), y), batch_size=batch_size, views=first)


fit_many = many_seeds.ManySeeds.fit


def predict_proba(
    handle: BinaryClassifier, x: np.ndarray, *, batch_statistics: bool = False
) -> np.ndarray:
    """Probability of class 1, (n,), for all of `x` at once; leaves the module as it is.

    With `eval-mode` undone it does what a module does that was never switched to evaluation: batch
    normalization uses the statistics of `x`, and tracks them.

    Args:
        handle: What `build` returned.
        x: Samples in Keras' layout.
        batch_statistics: Whether batch normalization uses the statistics of `x` itself.
    """
    tracked = "eval-mode" in networks.undone_in(handle) and not batch_statistics
    modes = {module: module.training for module in handle.modules()}
    handle.train(batch_statistics or tracked)
    # Copies of the buffers take the updates that a forward in training mode makes.
    buffers = {k: b if tracked else b.clone() for k, b in handle.named_buffers()}
    state = {**dict(handle.named_parameters()), **buffers}
    with torch.no_grad():
        logits = torch.func.functional_call(handle, state, torch.from_numpy(channels_first(x)))
    for module, mode in modes.items():
        module.training = mode
    return logits.sigmoid().reshape(len(x)).numpy()


def demonstrate(name: str, *, remedied: bool) -> dict[str, np.ndarray]:
    """The arrays of a convention's demonstration; with the remedy Keras computes the same.

    Args:
        name: A key of `torch.demonstrations.DEMONSTRATIONS`.
        remedied: Whether the remedy is in place, on whichever side it belongs.
    """
    return DEMONSTRATIONS[name](remedied)


def versions() -> dict[str, str]:
    """Versions of what computes here."""
    return {"torch": torch.__version__, "lightning": L.__version__}


def trace(
    handle: BinaryClassifier,
    batches: Sequence[tuple[np.ndarray, np.ndarray]],
    sink: tracing.Sink,
) -> list[dict[str, Any]]:
    """Record a training step per batch, and one evaluation; see `torch.trace.trace`.

    Targets come as Keras takes them, (n,), and become (n, 1).
    """
    samples = arrangement.of_samples(handle.model, batches[0][0])
    tensors = [(samples.to_torch(x), arrangement.unchanged(y[:, np.newaxis])) for x, y in batches]
    back = lambda step, x, y: (samples.to_keras(x), y)  # noqa: E731
    return tracing.trace(handle, handle.model, tensors, sink, to_keras=back)


def delivered(
    handle: BinaryClassifier, orders: np.ndarray, *, batch_size: int
) -> list[list[np.ndarray]]:
    """The samples of every batch of every epoch, by index, as training gets to see them."""
    samples = np.arange(orders.shape[1])
    loader = _batches(handle, (samples, samples), orders, batch_size).train_dataloader()
    seen = []
    for epoch in range(len(orders)):
        loader.sampler.set_epoch(epoch)
        seen.append([x.numpy() for x, _ in loader])
    return seen


def mutate(handle: BinaryClassifier, name: str, size: float) -> None:
    """Put a known port bug into a module, for a test of the judge; see `torch.mutations`."""
    bugs.inject(handle, name, size)
