"""Many seeds of one model at once, whole epochs compiled: the numbers of `model.fit`, sooner.

`model.fit` spends most of its time around steps as small as these. Here one `tf.function` runs a
whole epoch and its evaluation; the model's own layers compute it, through `stateless_call`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.backends.keras import timing
from compare.backends.keras.weights import to_numpy

Views = Mapping[str, tuple[np.ndarray, bool]]
"""What is evaluated after every epoch: name → samples, and whether batch normalization uses their
own statistics."""

OnEpoch = Callable[[np.ndarray, np.ndarray, dict[str, np.ndarray]], None]
"""Called with the running training loss and accuracy, (seeds,), and the probabilities of every
view, (seeds, n)."""


class ManySeeds:
    """Trains a model from many starting points.

    Dense models are vectorized over the seeds and compiled by XLA. Recurrent layers run seed by
    seed, unrolled, which XLA likes as well and compiles in half the time. Convolutions gain nothing
    from vectorization in TensorFlow, and XLA makes them slower on a CPU.

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
        convolutional = _has(model, keras.layers.Conv2D)
        self._vectorized = not convolutional and not _has(model, keras.layers.RNN)
        n = len(data[0])
        self._train = timing.epoch_of(model, n, batch_size, vectorized=self._vectorized)
        self._see = timing.over_seeds(self._seen) if self._vectorized else self._seen
        self._run = tf.function(self._epoch, jit_compile=not convolutional, autograph=False)

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
        states, orders = zip(*((timing.state_of(m), order) for m, order in starts), strict=True)
        if self._vectorized:
            states = [tf.nest.map_structure(lambda *seeds: tf.stack(seeds), *states)]
        for epoch_orders in np.stack(orders, axis=1).astype(np.int32):
            groups = epoch_orders[np.newaxis] if self._vectorized else epoch_orders
            with _unrolled(self._model):  # The first call traces.
                ran = [self._run(s, tf.constant(o)) for s, o in zip(states, groups, strict=True)]
            states = [state for state, _ in ran]
            on_epoch(*self._joined([measured for _, measured in ran]))
        for state in states:
            for seed in _unstacked(state) if self._vectorized else [state]:
                timing.assign(self._model, seed)
                yield self._model

    def _joined(self, runs: list[Any]) -> Any:
        """Losses and accuracies, (seeds,), and probabilities, (seeds, n)."""
        join = np.concatenate if self._vectorized else np.stack
        return tf.nest.map_structure(lambda *parts: join([to_numpy(p) for p in parts]), *runs)

    def _epoch(self, state: timing.State, order: tf.Tensor) -> Any:
        """One epoch of one seed, or of all of them: the state after it, and what was measured."""
        state, loss, accuracy = self._train(state, self._x, self._y, order)
        trained, tracked, _ = state
        return state, (loss, accuracy, self._see(trained, tracked))

    def _seen(self, trained: timing.Tensors, tracked: timing.Tensors) -> dict[str, tf.Tensor]:
        """Probabilities of every view, (n,)."""
        return {
            name: self._model.stateless_call(trained, tracked, x, training=mode)[0][:, 0]
            for name, (x, mode) in self._views.items()
        }


def _has(model: keras.Model, kind: type) -> bool:
    return any(isinstance(layer, kind) for layer in model.layers)


@contextmanager
def _unrolled(model: keras.Model) -> Iterator[None]:
    """While the block runs, recurrent layers are traced step by step, not as a loop."""
    layers = {layer: layer.unroll for layer in model.layers if isinstance(layer, keras.layers.RNN)}
    try:
        for layer in layers:
            layer.unroll = True
        yield
    finally:
        for layer, unroll in layers.items():
            layer.unroll = unroll


def _unstacked(state: timing.State) -> Iterator[timing.State]:
    """The state of one seed after the other."""
    parts = tf.nest.map_structure(tf.unstack, state)
    for seed in range(len(parts[0][0])):
        yield tuple([tensor[seed] for tensor in part] for part in parts)
