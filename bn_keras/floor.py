"""An epoch without Keras' training loop: one compiled function, the floor under `model.fit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Tensors = list[tf.Tensor]
State = tuple[Tensors, Tensors, Tensors]
"""Trainable variables, moving statistics, velocities of SGD."""


def train(
    model: keras.Model,
    data: tuple[np.ndarray, np.ndarray],
    *,
    orders: np.ndarray,
    batch_size: int,
    on_epoch: Callable[[float, float], None],
    jit_compile: bool = True,
) -> None:
    """Train as `model.fit` does, each epoch one call of a compiled function.

    The same loss, updates, moving statistics and running metrics; no callbacks, no dataset, no
    Python between two steps.

    Args:
        model: Compiled with SGD and binary cross-entropy; its output is a probability, (batch, 1).
        data: Samples in Keras' layout, (n, …), and labels, (n,), in the model's dtype.
        orders: The order of the samples in every epoch, (epochs, n).
        batch_size: Samples per batch; a short last batch is kept.
        on_epoch: Called after every epoch with the running training loss and accuracy.
        jit_compile: Whether XLA compiles it. On a CPU that is faster for dense layers and slower
            for convolutions.

    Raises:
        TypeError: The optimizer is not SGD, or uses Nesterov's momentum.
    """
    x, y = (tf.constant(array) for array in data)
    state: State = (
        [tf.convert_to_tensor(v.value) for v in model.trainable_variables],
        [tf.convert_to_tensor(v.value) for v in model.non_trainable_variables],
        [tf.zeros_like(v.value) for v in model.trainable_variables],
    )
    epoch = tf.function(_epoch_of(model, len(data[0]), batch_size), jit_compile=jit_compile)
    for order in orders:
        state, loss, accuracy = epoch(state, x, y, tf.constant(order, tf.int32))
        on_epoch(float(loss), float(accuracy))
    variables = (*model.trainable_variables, *model.non_trainable_variables)
    for variable, value in zip(variables, (*state[0], *state[1]), strict=True):
        variable.assign(value)


def _epoch_of(model: keras.Model, n: int, batch_size: int) -> Callable[..., Any]:
    step = _step_of(model)
    full = n // batch_size

    def epoch(
        state: State, x: tf.Tensor, y: tf.Tensor, order: tf.Tensor
    ) -> tuple[State, tf.Tensor, tf.Tensor]:
        x, y = tf.gather(x, order), tf.gather(y, order)

        def body(index: tf.Tensor, state: State, sums: Tensors) -> tuple[Any, ...]:
            start = index * batch_size
            batch = [_rows(array, start, batch_size) for array in (x, y)]
            return (index + 1, *step(state, sums, batch))

        sums = [tf.zeros((), x.dtype), tf.zeros((), x.dtype)]
        _, state, sums = tf.while_loop(
            lambda index, *_: index < full, body, (0, state, sums), maximum_iterations=full
        )
        if n % batch_size:
            rest = full * batch_size
            state, sums = step(state, sums, [x[rest:], y[rest:]])
        return state, sums[0] / n, sums[1] / n

    return epoch


def _rows(array: tf.Tensor, start: tf.Tensor, count: int) -> tf.Tensor:
    # XLA wants to know the shape of a slice while it compiles.
    origin = [start, *[0] * (len(array.shape) - 1)]
    return tf.slice(array, origin, [count, *array.shape[1:]])


def _step_of(model: keras.Model) -> Callable[[State, Tensors, Sequence[tf.Tensor]], Any]:
    """One step of SGD, from state and sums of loss and hits to new ones."""
    _check(model)
    momentum = model.optimizer.momentum
    rate = float(model.optimizer.learning_rate)

    def step(state: State, sums: Tensors, batch: Sequence[tf.Tensor]) -> tuple[State, Tensors]:
        (trained, statistics, velocities), (x, y) = state, batch
        targets = y[:, tf.newaxis]
        with tf.GradientTape() as tape:
            tape.watch(trained)
            output, statistics = model.stateless_call(trained, statistics, x, training=True)
            loss = tf.reduce_mean(keras.losses.binary_crossentropy(targets, output))
        slopes = tape.gradient(loss, trained)
        velocities = [
            tf.constant(momentum, v.dtype) * v - tf.constant(rate, v.dtype) * slope
            for v, slope in zip(velocities, slopes, strict=True)
        ]
        trained = [w + v for w, v in zip(trained, velocities, strict=True)]
        count = tf.cast(tf.shape(y)[0], loss.dtype)
        hits = tf.cast(tf.equal(output > 0.5, targets > 0.5), loss.dtype)
        sums = [sums[0] + loss * count, sums[1] + tf.reduce_sum(hits)]
        return (trained, list(statistics), velocities), sums

    return step


def _check(model: keras.Model) -> None:
    optimizer = model.optimizer
    if not isinstance(optimizer, keras.optimizers.SGD) or optimizer.nesterov:
        raise TypeError(f"the floor is SGD with momentum, not {type(optimizer).__name__}")
