"""Torch and Lightning behind the protocol that `compare` knows (`compare.backends.protocol`).

The only file of this package that `compare` loads. `probe.py`, `demonstrations.py`, `undo.py` and
`mutations.py` share its names, never its code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn

from bn_torch.data import CirclesDataModule, channels_first
from bn_torch.module import BinaryClassifier
from bn_torch.training import Reporting, fit
from compare.backends.torch import (
    anybody,
    arrangement,
    device,
    fast,
    mutations,
    objective_settings,
    probe,
    randomness,
    repeating,
    rules,
    timing,
    undo,
    weights,
)
from compare.backends.torch import building as networks
from compare.backends.torch.demonstrations import DEMONSTRATIONS
from compare.backends.torch.events import EventLog

# Lightning announces every Trainer and its devices; warnings still pass.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)

build = networks.build
configure, accelerator = device.configure, device.accelerator
time_fit, configurations = timing.time_fit, timing.configurations
trace_any, describe, building = anybody.trace_any, anybody.describe, anybody.building
dtype_of, is_model, is_lightning = anybody.dtype_of, anybody.is_model, anybody.is_lightning
optimizer_settings = objective_settings.optimizer_settings
loss_settings = objective_settings.loss_settings
random_parts, add_rule = randomness.random_parts, rules.add_rule
repeats = repeating.repeats


def read_weights(handle: nn.Module) -> dict[str, np.ndarray]:
    """Copies of all weights and running statistics, canonical names, Keras' layout."""
    return weights.read_weights(anybody.network(handle))


def write_weights(handle: nn.Module, values: Mapping[str, np.ndarray]) -> None:
    """Set all weights and running statistics; names and shapes as `read_weights` returns them."""
    if "kernel-layout" in undo.undone_in(handle):
        values = undo.misplaced(values)
    weights.write_weights(anybody.network(handle), values)


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
        precision=device.precision(),
    )


def _batches(
    handle: BinaryClassifier,
    data: tuple[np.ndarray, np.ndarray],
    orders: np.ndarray,
    batch_size: int,
) -> CirclesDataModule:
    drop_last = "last-batch" in undo.undone_in(handle) and len(data[0]) >= batch_size
    return CirclesDataModule(data, orders=orders, batch_size=batch_size, drop_last=drop_last)


def event_log(handle: BinaryClassifier, folder: str) -> EventLog:
    """What writes the curves of a run for TensorBoard; see `torch.events.EventLog`."""
    return EventLog(folder)


def compile_many(
    handle: BinaryClassifier,
    data: tuple[np.ndarray, np.ndarray],
    *,
    batch_size: int,
    views: fast.Views,
) -> fast.ManySeeds:
    """What `fit_many` runs, traced once for any number of seeds; see `torch.fast.ManySeeds`."""
    first = {name: (channels_first(x), mode) for name, (x, mode) in views.items()}
    x, y = data
    return fast.ManySeeds(handle, (channels_first(x), y), batch_size=batch_size, views=first)


fit_many = fast.ManySeeds.fit


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
    tracked = "eval-mode" in undo.undone_in(handle) and not batch_statistics
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
    sink: probe.Sink,
) -> list[dict[str, Any]]:
    """Record a training step per batch, and one evaluation; see `torch.probe.trace`.

    Targets come as Keras takes them, (n,), and become (n, 1).
    """
    samples = arrangement.of_samples(handle.model, batches[0][0])
    tensors = [(samples.to_torch(x), arrangement.unchanged(y[:, np.newaxis])) for x, y in batches]
    back = lambda step, x, y: (samples.to_keras(x), y)  # noqa: E731
    return probe.trace(handle, handle.model, tensors, sink, to_keras=back)


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
    mutations.inject(handle, name, size)
