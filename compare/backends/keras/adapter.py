"""Keras behind the protocol that `compare` knows (`compare.backends.protocol.Framework`).

The only file of this package that `compare` loads; what the functions take and return is documented
in the protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from bn_keras.data import PlannedBatches
from bn_keras.training import fit, reporting
from compare.backends.keras.build import (
    accelerator,
    build,
    building,
    configure,
    dtype_of,
    is_model,
    versions,
)
from compare.backends.keras.demos import DEMONSTRATIONS
from compare.backends.keras.events import EventLog
from compare.backends.keras.many_seeds import ManySeeds
from compare.backends.keras.rules import add_rule, forget_rule
from compare.backends.keras.settings import loss_settings, optimizer_settings, random_parts
from compare.backends.keras.structures import sample_input, to_numpy
from compare.backends.keras.timing import configurations, time_fit
from compare.backends.keras.trace import describe, evaluate, repeats, trace
from compare.backends.keras.weights import read_weights, write_weights
from compare.data import Array

__all__ = [
    "DEMONSTRATIONS",
    "accelerator",
    "add_rule",
    "build",
    "building",
    "compile_many",
    "configurations",
    "configure",
    "delivered",
    "demonstrate",
    "describe",
    "draw_orders",
    "dtype_of",
    "evaluate",
    "event_log",
    "fit_many",
    "forget_rule",
    "is_model",
    "loss_settings",
    "optimizer_settings",
    "predict_proba",
    "random_parts",
    "read_weights",
    "repeats",
    "sample_input",
    "time_fit",
    "trace",
    "train",
    "versions",
    "write_weights",
]

event_log = EventLog
compile_many = ManySeeds
fit_many = ManySeeds.fit


def draw_orders(n: int, *, epochs: int, seed: int) -> NDArray[Any]:
    """As Keras' own generator draws them."""
    generator = keras.random.SeedGenerator(seed)
    return np.stack(
        [np.array(keras.random.shuffle(np.arange(n), seed=generator)) for _ in range(epochs)]
    )


def train(
    handle: keras.Model,
    data: tuple[Array, Array],
    *,
    orders: NDArray[Any],
    batch_size: int,
    on_epoch: Callable[[float, float], None],
) -> None:
    """`model.fit` over all epochs."""
    fit(handle, PlannedBatches(*data, orders, batch_size), callbacks=[reporting(on_epoch)])


def delivered(
    handle: keras.Model, orders: NDArray[Any], *, batch_size: int
) -> list[list[NDArray[Any]]]:
    """From the dataset that `train` gives to `model.fit`."""
    samples = np.arange(orders.shape[1])
    batches = PlannedBatches(samples, samples, orders, batch_size)
    epochs = []
    for epoch in range(len(orders)):
        batches.epoch = epoch
        epochs.append([batches[index][0] for index in range(len(batches))])
    return epochs


def predict_proba(handle: keras.Model, x: Array, *, batch_statistics: bool = False) -> Array:
    """The model is left as it is."""
    if not batch_statistics:
        return np.array(handle.predict_on_batch(x)).reshape(len(x))
    output, _ = handle.stateless_call(
        handle.trainable_variables, handle.non_trainable_variables, x, training=True
    )
    return to_numpy(output).reshape(len(x))


def demonstrate(name: str, *, remedied: bool) -> dict[str, Array]:
    """A key of `DEMONSTRATIONS`, computed by Keras."""
    return DEMONSTRATIONS[name](remedied)
