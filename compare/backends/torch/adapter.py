"""Torch and Lightning behind the protocol that `compare` knows; the only file that it loads.

What every function does is documented once, in `compare.backends.protocol`: `Framework` and
`TorchFramework`. Here each hands over to the file that does it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bn_torch.data import CirclesDataModule, channels_first
from bn_torch.module import BinaryClassifier
from bn_torch.training import Reporting, fit
from compare.backends.draws import Draws
from compare.backends.protocol import Batches, Objective, Sink, Start, Views
from compare.backends.structures import Structure, without_weights
from compare.backends.torch import build as networks
from compare.backends.torch import (
    demos,
    dropout_demos,
    layer_demos,
    layouts,
    optimizer_demos,
    randomness,
    rules,
    settings,
    timing,
    weights,
)
from compare.backends.torch import not_compared as beside
from compare.backends.torch import operations as running
from compare.backends.torch import trace as tracing
from compare.backends.torch.events import EventLog
from compare.backends.torch.many_seeds import ManySeeds
from compare.backends.torch.rounding import rounded_otherwise as rounded_otherwise
from compare.backends.torch.structures import to_numpy
from compare.data import Array
from compare.trace import Layer, Operation

# Lightning announces every Trainer and its devices; warnings still pass.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)

accelerator, configure = networks.accelerator, networks.configure
build, building, versions = networks.build, networks.building, networks.versions
dtype_of, is_model = networks.dtype_of, networks.is_model
with_threads = networks.with_threads
configurations, time_fit = timing.configurations, timing.time_fit
fit_many = ManySeeds.fit
add_rule, forget_rule = rules.add_rule, rules.forget_rule
optimizer_settings, loss_settings = settings.optimizer_settings, settings.loss_settings
random_state, undropped = randomness.random_state, randomness.undropped
not_compared = beside.not_compared
random_parts, repeats = settings.random_parts, tracing.repeats


DEMONSTRATIONS = {
    **demos.DEMONSTRATIONS,
    **dropout_demos.DEMONSTRATIONS,
    **layer_demos.DEMONSTRATIONS,
    **optimizer_demos.DEMONSTRATIONS,
}


def draw_orders(n: int, *, epochs: int, seed: int) -> NDArray[np.int64]:
    """The order of the samples in every epoch, (epochs, n), as Torch's own generator draws it."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(n, generator=generator) for _ in range(epochs)]
    return torch.stack(orders).numpy()


def train(
    handle: BinaryClassifier,
    data: tuple[Array, Array],
    *,
    orders: NDArray[np.int64],
    batch_size: int,
    on_epoch: Callable[[float, float], None],
) -> None:
    """`Trainer.fit` over all epochs."""
    x, y = data
    fit(
        handle,
        _batches(handle, (channels_first(x), y), orders, batch_size),
        epochs=len(orders),
        callbacks=[Reporting(on_epoch)],
        precision=networks.precision(),
    )


def delivered(
    handle: BinaryClassifier, orders: NDArray[np.int64], *, batch_size: int
) -> list[list[NDArray[Any]]]:
    """The samples of every batch of every epoch, by index, as training gets to see them."""
    samples = np.arange(orders.shape[1])
    loader: Any = _batches(handle, (samples, samples), orders, batch_size).train_dataloader()
    epochs = []
    for epoch in range(len(orders)):
        loader.sampler.set_epoch(epoch)
        epochs.append([x.numpy() for x, _ in loader])
    return epochs


def _batches(
    handle: BinaryClassifier,
    data: tuple[NDArray[Any], NDArray[Any]],
    orders: NDArray[np.int64],
    batch_size: int,
) -> CirclesDataModule:
    drop_last = "last-batch" in networks.undone_in(handle) and len(data[0]) >= batch_size
    return CirclesDataModule(data, orders=orders, batch_size=batch_size, drop_last=drop_last)


def event_log(handle: BinaryClassifier, folder: str) -> EventLog:
    """What writes the curves of a run for TensorBoard."""
    return EventLog(folder)


def compile_many(
    handle: BinaryClassifier, data: tuple[Array, Array], *, batch_size: int, views: Views
) -> ManySeeds:
    """What `fit_many` runs, traced once for any number of seeds."""
    x, y = data
    moved = {name: (channels_first(x), mode) for name, (x, mode) in views.items()}
    return ManySeeds(handle, (channels_first(x), y), batch_size=batch_size, views=moved)


def predict_proba(handle: BinaryClassifier, x: Array, *, batch_statistics: bool = False) -> Array:
    """Probability of class 1, (n,), for all of `x` at once."""
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
    probabilities: Array = logits.sigmoid().reshape(len(x)).numpy()
    return probabilities


def demonstrate(name: str, *, remedied: bool) -> dict[str, Array]:
    """The arrays of a convention's demonstration."""
    return {
        key: to_numpy(value) if isinstance(value, Tensor) else np.asarray(value)
        for key, value in DEMONSTRATIONS[name](remedied).items()
    }


def is_lightning(module: nn.Module) -> bool:
    """Whether a module brings its own training step and optimizer."""
    return isinstance(module, L.LightningModule)


def network(module: nn.Module) -> nn.Module:
    """The part whose layers count: the network within ours, or what `torch.compile` was given."""
    module = getattr(module, "_orig_mod", module)
    return module.model if isinstance(module, BinaryClassifier) else module


def read_weights(handle: nn.Module) -> dict[str, Array]:
    """Copies of all weights and running statistics, canonical names, Keras' layout."""
    return weights.read_weights(network(handle))


def write_weights(handle: nn.Module, values: Mapping[str, Array]) -> None:
    """Set all weights and running statistics; names and shapes as `read_weights` returns them."""
    if "kernel-layout" in networks.undone_in(handle):
        values = networks.misplaced(values)
    weights.write_weights(network(handle), values)


def shared(module: nn.Module, draws: Draws) -> AbstractContextManager[None]:
    """A block in which what a module draws gets its numbers from elsewhere."""
    return randomness.shared(getattr(module, "_orig_mod", module), draws)


def describe(module: nn.Module, x: Structure) -> list[Layer]:
    """The layers in the order of one forward pass."""
    return tracing.describe(network(module), x)


def operations(
    module: nn.Module,
    x: Structure,
    *,
    to_torch: Callable[[Structure], Structure] | None = None,
) -> list[Operation]:
    """All that runs in one forward pass, in order, weighted or not."""
    arranged = to_torch or layouts.of_samples(module, x).to_torch
    return running.operations(network(module), arranged(x))


def write_some(handle: nn.Module, values: Mapping[str, Array]) -> None:
    """Set some weights and running statistics."""
    weights.write_some(network(handle), values)


def trace(
    handle: BinaryClassifier, batches: Batches, sink: Sink, *, start: Start | None = None
) -> list[Layer]:
    """Record a training step per batch; targets come as Keras takes them, (n,)."""
    columns = [(x, None if y is None else y[:, np.newaxis]) for x, y in batches]
    return trace_any(handle, columns, sink, start=start)


def trace_any(
    module: nn.Module,
    batches: Batches,
    sink: Sink,
    *,
    start: Start | None = None,
    objective: Objective | None = None,
    to_torch: layouts.Map | None = None,
    targets_to_torch: layouts.Map | None = None,
) -> list[Layer]:
    """Record a training step per batch of any module."""
    module = _trainable(module, batches[0][1], objective)
    samples, targets = _arrangements(module, batches[0], to_torch, targets_to_torch)
    tensors = [
        (samples.to_torch(x), None if y is None else targets.to_torch(y)) for x, y in batches
    ]

    def to_keras(step: int, x: Structure, y: Structure) -> tuple[Structure, Structure]:
        # What the user's own function does cannot be undone: record what it was called with.
        theirs = batches[step - 1]
        return (
            theirs[0] if to_torch is not None else samples.to_keras(x),
            without_weights(theirs[1])
            if targets_to_torch is not None or y is None
            else targets.to_keras(y),
        )

    return tracing.trace(
        module,
        network(module),
        tensors,
        sink,
        to_keras=to_keras,
        start=start,
        objective=objective,
    )


def real_step(
    module: nn.Module,
    x: Structure,
    y: Structure,
    sink: Sink,
    *,
    objective: Objective | None = None,
    to_torch: layouts.Map | None = None,
) -> None:
    """One step of a `Trainer`, or of a plain loop."""
    module = _trainable(module, y, objective)
    samples, targets = _arrangements(module, (x, y), to_torch, None)
    batch = samples.to_torch(x), targets.to_torch(y)
    tracing.real_step(module, network(module), batch, sink, objective=objective)


def _trainable(module: nn.Module, y: Structure | None, objective: Objective | None) -> nn.Module:
    """What `torch.compile` was given, or the module; a ValueError where it cannot be trained."""
    module = getattr(module, "_orig_mod", module)
    weights.weighted_layers(network(module))  # What has no weights yet is refused before it runs.
    if y is not None and objective is None and not is_lightning(module):
        raise ValueError(
            f"{type(module).__name__} is a plain module: training it takes a loss and an optimizer"
        )
    return module


def _arrangements(
    module: nn.Module,
    batch: tuple[Structure, Structure | None],
    to_torch: layouts.Map | None,
    targets_to_torch: layouts.Map | None,
) -> tuple[layouts.Arrangement, layouts.Arrangement]:
    """How samples and targets are laid out for a module."""
    x, y = batch
    samples = layouts.by_user("to_torch", to_torch) or layouts.of_samples(module, x)
    targets = layouts.by_user("targets_to_torch", targets_to_torch)
    return samples, targets or layouts.of_targets(module, samples.to_torch(x), y)
