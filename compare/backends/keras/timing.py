"""`model.fit` under a clock, as a user writes it, tuned, and beside it the floor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Arrays = tuple[np.ndarray, np.ndarray]

CONFIGURATIONS: Mapping[str, str] = MappingProxyType(
    {
        "idiomatic": "idiomatic",
        "floor (XLA)": "floor",
        "floor (graph)": "floor",
        "steps_per_execution=16": "tuned",
        "jit_compile=False": "tuned",
        "jit_compile=True": "tuned",
        "validation": "tuned",
        "validation in one batch": "tuned",
    }
)
"""What can be timed → which kind it is; the floors are whole epochs in one compiled function."""

clock = time.perf_counter


def configurations() -> dict[str, str]:
    """What `time_fit` can time → its kind: `"idiomatic"`, `"floor"` or `"tuned"`."""
    return dict(CONFIGURATIONS)


def time_fit(
    handle: keras.Model,
    data: Mapping[str, Arrays],
    *,
    configuration: str,
    epochs: int,
    batch_size: int,
) -> dict[str, Any]:
    """Train once; note when the first step and every epoch ended.

    The first step ends when its loss can be read, an epoch when its running loss can.

    Args:
        handle: A fresh model, built and compiled by the adapter.
        data: `"train"` and `"test"`: samples in Keras' layout, and labels, (n,).
        configuration: A key of `CONFIGURATIONS`.
        epochs: Passes over the training samples.
        batch_size: Samples per batch; a short last batch is kept.

    Returns:
        `first_step`, seconds from the call to the end of the first step, None for a floor;
        `epoch_ends`, seconds from the call to the end of every epoch; `note`, what was decided by
        the framework.
    """
    if CONFIGURATIONS[configuration] == "floor":
        return _time_floor(handle, data["train"], configuration, epochs, batch_size)
    chosen = _compile_options(configuration)
    if chosen:
        handle.compile(
            optimizer=handle.optimizer,
            loss="binary_crossentropy",
            metrics=["accuracy"],
            **chosen,
        )
    stamps = _Stamps()
    options: dict[str, Any] = {**_fit_options(configuration, data["test"]), "callbacks": [stamps]}
    stamps.start = clock()
    handle.fit(*data["train"], batch_size=batch_size, epochs=epochs, verbose=0, **options)
    note = f"jit_compile={'' if 'jit_compile' in chosen else 'auto, '}{handle.jit_compile}"
    return {"first_step": stamps.first_step, "epoch_ends": stamps.epoch_ends, "note": note}


def _compile_options(configuration: str) -> dict[str, Any]:
    name, _, value = configuration.partition("=")
    choices = {"16": 16, "True": True, "False": False}
    return {name: choices[value]} if value else {}


def _fit_options(configuration: str, test: Arrays) -> dict[str, Any]:
    if not configuration.startswith("validation"):
        return {}
    whole = configuration == "validation in one batch"
    return {
        "validation_data": test,
        "validation_batch_size": len(test[0]) if whole else None,
    }


class _Stamps(keras.callbacks.Callback):
    """Takes timestamps.

    A callback with a hook on every batch would change how Keras dispatches all callbacks, so the
    first step is seen by wrapping the training function, for that one call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = 0.0
        self.first_step: float | None = None
        self.epoch_ends: list[float] = []

    def on_train_begin(self, logs: dict | None = None) -> None:
        original: Callable[..., Any] = self.model.train_function

        def first(iterator: Any) -> Any:
            self.model.train_function = original
            found = original(iterator)
            float(next(iter(found.values())))
            self.first_step = clock() - self.start
            return found

        self.model.train_function = first

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        float((logs or {}).get("loss", 0.0))
        self.epoch_ends.append(clock() - self.start)


def _time_floor(
    handle: keras.Model, train: Arrays, configuration: str, epochs: int, batch_size: int
) -> dict[str, Any]:
    # Needs TensorFlow, which Keras on another backend does not.
    pass

    ends: list[float] = []
    rng = np.random.default_rng(0)
    orders = np.stack([rng.permutation(len(train[0])) for _ in range(epochs)])
    start = clock()
    train(
        handle,
        train,
        orders=orders,
        batch_size=batch_size,
        on_epoch=lambda loss, accuracy: ends.append(clock() - start),
        jit_compile=configuration == "floor (XLA)",
    )
    return {"first_step": None, "epoch_ends": ends, "note": ""}


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
