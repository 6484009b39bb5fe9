"""Whole epochs compiled, of one seed or of many at once: the numbers of `model.fit`, sooner.

`model.fit` spends most of its time around steps as small as these. Here one `tf.function` runs a
whole epoch; the model's own layers compute it, through `stateless_call`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from operator import itemgetter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.backends.keras.preserve_state import shadow
from compare.backends.keras.structures import to_numpy
from compare.backends.protocol import OnEpoch, Views
from compare.data import Array

Tensors = list[tf.Tensor]
State = tuple[Tensors, Tensors, Tensors]
"""Trainable variables, moving statistics, velocities of SGD."""


class ManySeeds:
    """Trains a model from many starting points.

    Dense models are vectorized over the seeds and compiled by XLA. Recurrent layers run seed by
    seed, unrolled, which XLA likes as well and compiles in half the time. Convolutions gain nothing
    from vectorization in TensorFlow, and XLA makes them slower on a CPU.

    The arguments are those of `Framework.compile_many`; the optimizer is SGD with momentum.
    """

    def __init__(
        self, model: keras.Model, data: tuple[Array, Array], *, batch_size: int, views: Views
    ) -> None:
        self._model = model
        self._x, self._y = (tf.constant(array) for array in data)
        self._views = {name: (tf.constant(x), mode) for name, (x, mode) in views.items()}
        self._recurrent = [layer for layer in model.layers if isinstance(layer, keras.layers.RNN)]
        convolutional = any(isinstance(layer, keras.layers.Conv2D) for layer in model.layers)
        self._vectorized = not convolutional and not self._recurrent
        n = len(data[0])
        self._train = epoch_of(model, n, batch_size, vectorized=self._vectorized)
        self._predict = _over_seeds(self._predictions) if self._vectorized else self._predictions
        self._run = tf.function(self._epoch, jit_compile=not convolutional, autograph=False)

    def fit(
        self, starts: Iterable[tuple[keras.Model, Array]], *, on_epoch: OnEpoch
    ) -> Iterator[keras.Model]:
        """See `Framework.fit_many`."""
        states, orders = zip(*((state_of(m), order) for m, order in starts), strict=True)
        if self._vectorized:
            states = [tf.nest.map_structure(lambda *seeds: tf.stack(seeds), *states)]
        for epoch_orders in np.stack(orders, axis=1).astype(np.int32):
            groups = epoch_orders[np.newaxis] if self._vectorized else epoch_orders
            with ExitStack() as stack:
                # The first call traces recurrent layers, step by step and not as a loop.
                for layer in self._recurrent:
                    shadow(stack, layer, "unroll", True)
                runs = [self._run(s, tf.constant(o)) for s, o in zip(states, groups, strict=True)]
            states = [state for state, _ in runs]
            on_epoch(*self._joined([measured for _, measured in runs]))
        for state in states:
            for seed in _unstacked(state) if self._vectorized else [state]:
                assign(self._model, seed)
                yield self._model

    def _epoch(self, state: State, order: tf.Tensor) -> Any:
        """One epoch of one seed, or of all of them: the state after it, and what was measured."""
        state, loss, accuracy = self._train(state, self._x, self._y, order)
        trained, tracked, _ = state
        return state, (loss, accuracy, self._predict(trained, tracked))

    def _predictions(self, trained: Tensors, tracked: Tensors) -> dict[str, tf.Tensor]:
        """Probabilities of every view, (n,)."""
        return {
            name: self._model.stateless_call(trained, tracked, x, training=mode)[0][:, 0]
            for name, (x, mode) in self._views.items()
        }

    def _joined(self, runs: list[Any]) -> Any:
        """Losses and accuracies, (seeds,), and probabilities, (seeds, n)."""
        join: Any = np.concatenate if self._vectorized else np.stack
        return tf.nest.map_structure(lambda *parts: join([to_numpy(p) for p in parts]), *runs)


def _unstacked(state: State) -> Iterator[State]:
    """The state of one seed after the other."""
    for seed in range(len(state[0][0])):
        yield tf.nest.map_structure(itemgetter(seed), state)


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
) -> Callable[..., tuple[State, tf.Tensor, tf.Tensor]]:
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
    step = _over_seeds(_step_of(model)) if vectorized else _step_of(model)
    full = n // batch_size

    def epoch(
        state: State, x: tf.Tensor, y: tf.Tensor, order: tf.Tensor
    ) -> tuple[State, tf.Tensor, tf.Tensor]:
        def batch(start: tf.Tensor | int, count: int) -> tuple[tf.Tensor, tf.Tensor]:
            # XLA knows the length of a slice while it compiles.
            *seeds, _ = order.shape
            chosen = tf.slice(order, [*(0 for _ in seeds), start], [*seeds, count])
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


def _over_seeds(function: Callable[..., Any]) -> Callable[..., Any]:
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
