"""Many seeds in a loop written by hand for three networks: what the fast pace is measured against.

Plain TensorFlow, no Keras but to begin and to end: weights in a dictionary, the seeds as a leading
axis where that is faster, one compiled function per epoch with the evaluation in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.backends.keras.structures import to_numpy
from compare.backends.keras.weights import named_variables

Views = Mapping[str, tuple[np.ndarray, bool]]
"""What is evaluated after every epoch: name → samples, and whether batch normalization uses their
own statistics."""

OnEpoch = Callable[[np.ndarray, np.ndarray, dict[str, np.ndarray]], None]
Tensors = dict[str, tf.Tensor]
_MEAN, _VARIANCE = "batch_norm/moving_mean", "batch_norm/moving_variance"


class LoopByHand:
    """Trains `mlp-bn-after`, `cnn-bn` or `lstm-bn` from many starting points.

    Args:
        model: The network, compiled with SGD.
        data: Samples and labels, (n, …) and (n,).
        batch_size: Samples per step; a short last batch is kept.
        views: What is evaluated after every epoch.

    Raises:
        TypeError: It is none of the three networks.
    """

    def __init__(
        self,
        model: keras.Model,
        data: tuple[np.ndarray, np.ndarray],
        *,
        batch_size: int,
        views: Views,
    ) -> None:
        self._model, self._variables = model, named_variables(model)
        kinds = tuple(type(layer).__name__ for layer in model.layers)
        if kinds not in _NETWORKS or "batch_norm/gamma" not in self._variables:
            raise TypeError(f"no loop by hand is written for {', '.join(kinds)}")
        self._network = _NETWORKS[kinds]
        norm, dtype = model.get_layer("batch_norm"), data[0].dtype
        self._epsilon, self._kept = (tf.constant(v, dtype) for v in (norm.epsilon, norm.momentum))
        rates = float(model.optimizer.learning_rate), float(model.optimizer.momentum)
        self._rate, self._momentum = (tf.constant(rate, dtype) for rate in rates)
        self._x, self._y = (tf.constant(array) for array in data)
        self._views = {name: (tf.constant(x), mode) for name, (x, mode) in views.items()}
        self._batch_size = batch_size
        self._stacked = self._network is _mlp
        self._run = tf.function(self._epoch, jit_compile=self._network is not _cnn)

    def fit(
        self, starts: Iterable[tuple[keras.Model, np.ndarray]], *, on_epoch: OnEpoch
    ) -> Iterator[keras.Model]:
        """Train from every start; arguments and results as `ManySeeds.fit`'s."""
        states, orders = zip(*((self._start(), order) for _, order in starts), strict=True)
        if self._stacked:
            states = [tf.nest.map_structure(lambda *seeds: tf.stack(seeds), *states)]
        for order in np.stack(orders, axis=1).astype(np.int32):
            groups = order[np.newaxis] if self._stacked else order
            ran = [self._run(s, tf.constant(o)) for s, o in zip(states, groups, strict=True)]
            states = [state for state, *_ in ran]
            join = np.concatenate if self._stacked else np.stack
            seen = {name: join([to_numpy(r[3][name]) for r in ran]) for name in self._views}
            losses, shares = (join([to_numpy(run[part]) for run in ran]) for part in (1, 2))
            on_epoch(losses, shares, seen)
        for weights, _ in states:
            for seed in range(len(orders)) if self._stacked else (...,):
                for name, variable in self._variables.items():
                    variable.assign(weights[name][seed])
                yield self._model

    def _start(self) -> tuple[Tensors, Tensors]:
        """Weights and statistics, and velocities."""
        weights = {name: tf.identity(v.value) for name, v in self._variables.items()}
        still = (_MEAN, _VARIANCE)
        return weights, {n: tf.zeros_like(w) for n, w in weights.items() if n not in still}

    def _epoch(self, state: Any, order: tf.Tensor) -> Any:
        """State, running loss and accuracy, (…), and probabilities, (…, n), after one epoch."""
        size, (full, rest) = self._batch_size, divmod(len(self._x), self._batch_size)
        cut = tf.reshape(order[..., : full * size], [*order.shape[:-1], full, size])
        batches = tf.experimental.numpy.moveaxis(cut, -2, 0)
        sums = [tf.zeros(order.shape[:-1], self._x.dtype)] * 2
        _, state, sums = tf.while_loop(
            lambda index, *_: index < full,
            lambda index, state, sums: (index + 1, *self._step(state, sums, batches[index])),
            (0, state, sums),
            maximum_iterations=full,
        )
        if rest:
            state, sums = self._step(state, sums, order[..., full * size :])
        seen = {name: self._probability(state[0], *view) for name, view in self._views.items()}
        return state, sums[0] / len(self._x), sums[1] / len(self._x), seen

    def _step(self, state: Any, sums: list[tf.Tensor], chosen: tf.Tensor) -> Any:
        weights, velocities = state
        x, y = tf.gather(self._x, chosen), tf.gather(self._y, chosen)
        with tf.GradientTape() as tape:
            tape.watch([weights[name] for name in velocities])
            logits, statistics = self._network(weights, x, self._normalize_batch)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(y, logits)
            # The mean of every seed, summed over the seeds.
            total = tf.reduce_sum(losses) / losses.shape[-1]
        slopes = tape.gradient(total, {name: weights[name] for name in velocities})
        velocities = {n: self._momentum * v - self._rate * slopes[n] for n, v in velocities.items()}
        moved = {name: weights[name] + v for name, v in velocities.items()}
        hits = tf.cast(tf.equal(logits > 0, y > 0.5), y.dtype)
        sums = [s + tf.reduce_sum(v, -1) for s, v in zip(sums, (losses, hits), strict=True)]
        return ({**weights, **moved, **statistics}, velocities), sums

    def _probability(self, weights: Tensors, x: tf.Tensor, batch_statistics: bool) -> tf.Tensor:
        normalize = self._normalize_batch if batch_statistics else self._normalize_tracked
        return tf.sigmoid(self._network(weights, x, normalize)[0])

    def _normalize_batch(self, weights: Tensors, x: tf.Tensor) -> tuple[tf.Tensor, Tensors]:
        axes = [0, 1, 2] if len(x.shape) == 4 else [-2]
        mean, variance = tf.nn.moments(x, axes, keepdims=True)
        statistics = {}
        for name, value in ((_MEAN, mean), (_VARIANCE, variance)):
            value = tf.reshape(value, weights[name].shape)
            statistics[name] = weights[name] * self._kept + value * (1.0 - self._kept)
        return self._scaled(weights, x, mean, variance), statistics

    def _normalize_tracked(self, weights: Tensors, x: tf.Tensor) -> tuple[tf.Tensor, Tensors]:
        return self._scaled(weights, x, _row(weights[_MEAN]), _row(weights[_VARIANCE])), {}

    def _scaled(
        self, weights: Tensors, x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
    ) -> tf.Tensor:
        scale = tf.math.rsqrt(variance + self._epsilon) * _row(weights["batch_norm/gamma"])
        return x * scale + (_row(weights["batch_norm/beta"]) - mean * scale)


def _row(vector: tf.Tensor) -> tf.Tensor:
    return vector[..., tf.newaxis, :]


def _dense(weights: Tensors, name: str, x: tf.Tensor) -> tf.Tensor:
    return tf.matmul(x, weights[f"{name}/kernel"]) + _row(weights[f"{name}/bias"])


def _mlp(weights: Tensors, x: tf.Tensor, normalize: Callable[..., Any]) -> Any:
    hidden, statistics = normalize(weights, tf.nn.relu(_dense(weights, "hidden", x)))
    return _dense(weights, "output", hidden)[..., 0], statistics


def _cnn(weights: Tensors, x: tf.Tensor, normalize: Callable[..., Any]) -> Any:
    for name in ("conv1", "conv2"):
        x = tf.nn.conv2d(x, weights[f"{name}/kernel"], 1, "VALID")
        x = tf.nn.relu(tf.nn.bias_add(x, weights[f"{name}/bias"]))
    x, statistics = normalize(weights, x)
    pooled = tf.nn.max_pool2d(x, 2, 2, "VALID")
    flat = tf.reshape(pooled, [pooled.shape[0], -1])
    return _dense(weights, "output", flat)[..., 0], statistics


def _lstm(weights: Tensors, x: tf.Tensor, normalize: Callable[..., Any]) -> Any:
    hidden = cell = None
    for step in tf.unstack(x, axis=-2):
        gates = _dense(weights, "lstm", step)
        if hidden is not None:
            gates += tf.matmul(hidden, weights["lstm/recurrent_kernel"])
        i, f, g, o = tf.split(gates, 4, axis=-1)
        new = tf.sigmoid(i) * tf.tanh(g)
        cell = new if cell is None else tf.sigmoid(f) * cell + new
        hidden = tf.sigmoid(o) * tf.tanh(cell)
    hidden, statistics = normalize(weights, hidden)
    return _dense(weights, "output", hidden)[..., 0], statistics


_NETWORKS: Mapping[tuple[str, ...], Callable[..., Any]] = {
    ("Dense", "BatchNormalization", "Dense"): _mlp,
    ("Conv2D", "Conv2D", "BatchNormalization", "MaxPooling2D", "Flatten", "Dense"): _cnn,
    ("LSTM", "BatchNormalization", "Dense"): _lstm,
}
"""Kinds of the layers → the network."""
