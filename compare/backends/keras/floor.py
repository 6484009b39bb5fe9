"""An epoch without Keras' training loop: one compiled function, the floor under `model.fit`.

The model's own layers and loss compute it, through `stateless_call` and `compute_loss`.
"""

from __future__ import annotations

from collections.abc import Callable
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
    epoch = tf.function(epoch_of(model, len(data[0]), batch_size), jit_compile=jit_compile)
    state = state_of(model)
    for order in orders:
        state, loss, accuracy = epoch(state, x, y, tf.constant(order, tf.int32))
        on_epoch(float(loss), float(accuracy))
    assign(model, state)


def state_of(model: keras.Model) -> State:
    """Copies of a model's variables, and velocities of zero."""
    trained = [tf.identity(variable.value) for variable in model.trainable_variables]
    tracked = [tf.identity(variable.value) for variable in model.non_trainable_variables]
    return trained, tracked, [tf.zeros_like(tensor) for tensor in trained]


def assign(model: keras.Model, state: State) -> None:
    """Set a model's variables."""
    variables = (*model.trainable_variables, *model.non_trainable_variables)
    for variable, value in zip(variables, (*state[0], *state[1]), strict=True):
        variable.assign(value)


def epoch_of(
    model: keras.Model, n: int, batch_size: int, *, vectorized: bool = False
) -> Callable[..., Any]:
    """An epoch as a pure function, to be compiled.

    Args:
        model: Compiled with SGD; its output is a probability, (batch, 1).
        n: Number of training samples.
        batch_size: Samples per batch; a short last batch is kept.
        vectorized: Whether the function takes many seeds at once: every tensor of the state, and
            the order, with the seeds as a leading axis.

    Returns:
        A function of a state, samples, labels and the order of the samples, (n,) or (seeds, n), to
        the state after the epoch, the running loss and the running accuracy, () or (seeds,).

    Raises:
        TypeError: The optimizer is not SGD, or uses Nesterov's momentum.
    """
    step = over_seeds(_step_of(model)) if vectorized else _step_of(model)
    full = n // batch_size

    def epoch(
        state: State, x: tf.Tensor, y: tf.Tensor, order: tf.Tensor
    ) -> tuple[State, tf.Tensor, tf.Tensor]:
        def batch(start: tf.Tensor | int, count: int) -> tuple[tf.Tensor, tf.Tensor]:
            chosen = _columns(order, start, count)
            return tf.gather(x, chosen), tf.gather(y, chosen)

        def body(index: tf.Tensor, state: State, sums: Tensors) -> tuple[Any, ...]:
            return (index + 1, *step(state, sums, *batch(index * batch_size, batch_size)))

        sums = [tf.zeros(order.shape[:-1], x.dtype)] * 2
        if full:
            _, state, sums = tf.while_loop(lambda index, *_: index < full, body, (0, state, sums))
        if n % batch_size:
            state, sums = step(state, sums, *batch(full * batch_size, n % batch_size))
        return state, sums[0] / n, sums[1] / n

    return epoch


def _columns(order: tf.Tensor, start: tf.Tensor | int, count: int) -> tf.Tensor:
    """Part of the last axis, whose length XLA knows while it compiles."""
    before = [0] * (len(order.shape) - 1)
    return tf.slice(order, [*before, start], [*order.shape[:-1], count])


def over_seeds(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors, vectorized over a leading axis of each of them.

    Best put around the smallest function: to vectorize a loop takes five times as long to trace.
    """
    return lambda *arguments: tf.vectorized_map(lambda seed: function(*seed), arguments)


def _step_of(model: keras.Model) -> Callable[..., tuple[State, Tensors]]:
    """One step of SGD, from state and sums of loss and hits to new ones."""
    optimizer, dtype = model.optimizer, model.variables[0].dtype
    if not isinstance(optimizer, keras.optimizers.SGD) or optimizer.nesterov:
        raise TypeError(f"the floor is SGD with momentum, not {type(optimizer).__name__}")
    rate = keras.ops.cast(optimizer.learning_rate, dtype)
    # Keras' own cast: it takes a Python float through float32.
    momentum = keras.ops.cast(optimizer.momentum, dtype)

    def step(state: State, sums: Tensors, x: tf.Tensor, y: tf.Tensor) -> tuple[State, Tensors]:
        trained, tracked, velocities = state
        with tf.GradientTape() as tape:
            tape.watch(trained)
            output, tracked = model.stateless_call(trained, tracked, x, training=True)
            loss = model.compute_loss(x, y, output)
        slopes = tape.gradient(loss, trained)
        velocities = [
            momentum * velocity - rate * slope
            for velocity, slope in zip(velocities, slopes, strict=True)
        ]
        trained = [w + velocity for w, velocity in zip(trained, velocities, strict=True)]
        hits = tf.cast(tf.equal(output[:, 0] > 0.5, y > 0.5), loss.dtype)
        sums = [sums[0] + loss * y.shape[0], sums[1] + tf.reduce_sum(hits)]
        return (trained, list(tracked), velocities), sums

    return step
