"""Keras behind the protocol that `compare` knows (`compare.backends.protocol.Framework`).

The only file of this package that `compare` loads; what the functions take and return is documented
in the protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from bn_keras.data import PlannedBatches
from bn_keras.training import fit, reporting
from compare.backends.keras import build as networks
from compare.backends.keras import (
    demos,
    dropout_demos,
    layer_demos,
    optimizer_demos,
    randomness,
    rules,
    settings,
    structures,
    timing,
    weights,
)
from compare.backends.keras import not_compared as beside
from compare.backends.keras import operations as running
from compare.backends.keras import real_step as real
from compare.backends.keras import trace as tracing
from compare.backends.keras.events import EventLog
from compare.backends.keras.many_seeds import ManySeeds
from compare.data import Array

versions, configure, accelerator = networks.versions, networks.configure, networks.accelerator
build, building = networks.build, networks.building
is_model, dtype_of = networks.is_model, networks.dtype_of
event_log = EventLog
compile_many, fit_many = ManySeeds, ManySeeds.fit
configurations, time_fit = timing.configurations, timing.time_fit
operations, not_compared = running.operations, beside.not_compared
random_parts, repeats = settings.random_parts, tracing.repeats
optimizer_settings, loss_settings = settings.optimizer_settings, settings.loss_settings
shared, undropped = randomness.shared, randomness.undropped
read_weights, write_weights = weights.read_weights, weights.write_weights
write_some = weights.write_some
add_rule, forget_rule = rules.add_rule, rules.forget_rule
sample_input = structures.sample_input
describe, trace, real_step = tracing.describe, tracing.trace, real.real_step


DEMONSTRATIONS = {
    **demos.DEMONSTRATIONS,
    **dropout_demos.DEMONSTRATIONS,
    **layer_demos.DEMONSTRATIONS,
    **optimizer_demos.DEMONSTRATIONS,
}


def draw_orders(n: int, *, epochs: int, seed: int) -> NDArray[Any]:
    """See `Framework.draw_orders`."""
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
    """See `Framework.train`."""
    fit(handle, PlannedBatches(*data, orders, batch_size), callbacks=[reporting(on_epoch)])


def delivered(
    handle: keras.Model, orders: NDArray[Any], *, batch_size: int
) -> list[list[NDArray[Any]]]:
    """See `Framework.delivered`; from the dataset that `train` gives to `model.fit`."""
    samples = np.arange(orders.shape[1])
    batches = PlannedBatches(samples, samples, orders, batch_size)
    epochs = []
    for epoch in range(len(orders)):
        batches.epoch = epoch
        epochs.append([batches[index][0] for index in range(len(batches))])
    return epochs


def predict_proba(handle: keras.Model, x: Array, *, batch_statistics: bool = False) -> Array:
    """See `Framework.predict_proba`."""
    if not batch_statistics:
        return np.array(handle.predict_on_batch(x)).reshape(len(x))
    output, _ = handle.stateless_call(
        handle.trainable_variables, handle.non_trainable_variables, x, training=True
    )
    return structures.to_numpy(output).reshape(len(x))


def demonstrate(name: str, *, remedied: bool) -> dict[str, Array]:
    """See `Framework.demonstrate`."""
    values = DEMONSTRATIONS[name](remedied)
    return {key: structures.to_numpy(value) for key, value in values.items()}


if TYPE_CHECKING:
    from compare.backends.keras import adapter
    from compare.backends.protocol import KerasFramework

    _conforms: KerasFramework = adapter
