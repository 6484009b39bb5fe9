"""Many seeds of one model at once, whole epochs compiled: the numbers of `model.fit`, sooner.

`model.fit` spends most of its time around steps as small as these. Here one `tf.function` runs a
whole epoch and its evaluation; the model's own layers compute it, through `stateless_call`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bn_keras.weights import to_numpy

Views = Mapping[str, tuple[np.ndarray, bool]]
"""What is evaluated after every epoch: name → samples, and whether batch normalization uses their
own statistics."""

OnEpoch = Callable[[np.ndarray, np.ndarray, dict[str, np.ndarray]], None]
"""Called with the running training loss and accuracy, (seeds,), and the probabilities of every
view, (seeds, n)."""


class ManySeeds:
    """Trains a model from many starting points.

    Dense models are vectorized over the seeds. Convolutions gain nothing from that in TensorFlow
    and run seed by seed, and so do recurrent layers, which XLA makes faster than any vectorization.

    Args:
        model: A model with a probability as its output, compiled with SGD with momentum.
        data: Samples and labels, (n, …) and (n,).
        batch_size: Samples per step; a short last batch is kept.
        views: What is evaluated after every epoch.
    """

    def __init__(
        self,
        model: keras.Model,
        data: tuple[np.ndarray, np.ndarray],
        *,
        batch_size: int,
        views: Views,
    ) -> None:
        self._model = model
        self._x, self._y = (tf.constant(array) for array in data)
        self._views = {name: (tf.constant(x), mode) for name, (x, mode) in views.items()}
        self._batch_size = batch_size
        self._sizes = np.diff([*range(0, len(data[0]), batch_size), len(data[0])])
        optimizer, dtype = model.optimizer, model.variables[0].dtype
        self._learning_rate = keras.ops.cast(optimizer.learning_rate, dtype)
        # Keras' own cast: it takes a Python float through float32.
        self._momentum = keras.ops.cast(optimizer.momentum, dtype)
        recurrent = _has(model, keras.layers.RNN)
        self._vectorized = not recurrent and not _has(model, keras.layers.Conv2D)
        run = self._vectorized_epoch if self._vectorized else self._epoch
        self._run = tf.function(run, jit_compile=recurrent)

    def fit(
        self, starts: Iterable[tuple[keras.Model, np.ndarray]], *, on_epoch: OnEpoch
    ) -> Iterator[keras.Model]:
        """Train from every start, all of them epoch by epoch.

        Args:
            starts: Models of this architecture, each with the order of its samples, (epochs, n).
                Weights are copied as they come: it may be one model again and again.
            on_epoch: Called after every epoch.

        Yields:
            The model with the trained weights of one seed after the other.
        """
        states, orders = zip(*((self._start(m), order) for m, order in starts), strict=True)
        if self._vectorized:
            states = [tf.nest.map_structure(lambda *seeds: tf.stack(seeds), *states)]
        for epoch_orders in np.stack(orders, axis=1).astype(np.int32):
            groups = epoch_orders[np.newaxis] if self._vectorized else epoch_orders
            ran = [self._run(s, tf.constant(o)) for s, o in zip(states, groups, strict=True)]
            states = [state for state, _ in ran]
            losses, right, seen = self._measured([measured for _, measured in ran])
            shares = self._sizes / self._sizes.sum()
            on_epoch(losses @ shares, right.sum(axis=1) / self._sizes.sum(), seen)
        yield from self._finished(states)

    def _start(self, model: keras.Model) -> tuple[list[Any], list[Any], list[Any]]:
        """Trained weights, moving statistics, and the optimizer's velocities."""
        trained = [tf.identity(variable.value) for variable in model.trainable_variables]
        tracked = [tf.identity(variable.value) for variable in model.non_trainable_variables]
        return trained, tracked, [tf.zeros_like(tensor) for tensor in trained]

    def _measured(self, runs: list[Any]) -> Any:
        """Losses and counts per step, (seeds, steps), and probabilities, (seeds, n)."""
        join = np.concatenate if self._vectorized else np.stack
        return tf.nest.map_structure(lambda *parts: join([to_numpy(p) for p in parts]), *runs)

    def _finished(self, states: list[Any]) -> Iterator[keras.Model]:
        model = self._model
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        for trained, tracked, _ in states:
            tensors = [*trained, *tracked]
            seeds = zip(*map(tf.unstack, tensors), strict=True) if self._vectorized else [tensors]
            for values in seeds:
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)
                yield model

    def _vectorized_epoch(self, states: Any, orders: tf.Tensor) -> Any:
        return tf.vectorized_map(lambda seed: self._epoch(*seed), (states, orders))

    def _epoch(self, state: Any, order: tf.Tensor) -> Any:
        """One epoch of one seed: its state after it, and what was measured."""
        x, y = tf.gather(self._x, order), tf.gather(self._y, order)
        size, (full, rest) = self._batch_size, divmod(len(self._x), self._batch_size)

        def step(index: tf.Tensor, state: Any, losses: Any, right: Any) -> Any:
            batch = (_rows(array, index * size, size) for array in (x, y))
            state, loss, count = self._step(state, *batch)
            losses = tf.tensor_scatter_nd_update(losses, [[index]], [loss])
            return index + 1, state, losses, tf.tensor_scatter_nd_update(right, [[index]], [count])

        measured = [tf.zeros(full, self._x.dtype), tf.zeros(full, tf.int32)]
        _, state, losses, right = tf.while_loop(
            lambda index, *_: index < full, step, [0, state, *measured]
        )
        if rest:
            state, loss, count = self._step(state, x[full * size :], y[full * size :])
            losses, right = tf.concat([losses, [loss]], 0), tf.concat([right, [count]], 0)
        return state, (losses, right, self._evaluate(state))

    def _step(self, state: Any, x: tf.Tensor, y: tf.Tensor) -> Any:
        trained, tracked, velocities = state
        with tf.GradientTape() as tape:
            tape.watch(trained)
            output, tracked = self._model.stateless_call(trained, tracked, x, training=True)
            loss = self._model.compute_loss(x, y, output)
        gradients = tape.gradient(loss, trained)
        velocities = [
            self._momentum * velocity - self._learning_rate * gradient
            for velocity, gradient in zip(velocities, gradients, strict=True)
        ]
        trained = [tensor + v for tensor, v in zip(trained, velocities, strict=True)]
        right = tf.equal(output[:, 0] > 0.5, y > 0.5)
        return (trained, tracked, velocities), loss, tf.math.count_nonzero(right, dtype=tf.int32)

    def _evaluate(self, state: Any) -> dict[str, tf.Tensor]:
        trained, tracked, _ = state
        return {
            name: self._model.stateless_call(trained, tracked, x, training=mode)[0][:, 0]
            for name, (x, mode) in self._views.items()
        }


def _has(model: keras.Model, kind: type) -> bool:
    return any(isinstance(layer, kind) for layer in model.layers)


def _rows(array: tf.Tensor, start: tf.Tensor, size: int) -> tf.Tensor:
    """`array[start : start + size]`, of a length that the compiler knows."""
    begin = [start, *[0] * (len(array.shape) - 1)]
    return tf.slice(array, begin, [size, *array.shape[1:]])
