"""`model.fit` under a clock, as a user writes it, tuned, and beside it the floor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray

from compare.backends.floor import time_floor
from compare.backends.keras.many_seeds import assign, epoch_of, state_of
from compare.data import Array

CONFIGURATIONS = {
    "idiomatic": "idiomatic",
    "floor (XLA)": "floor",
    "floor (graph)": "floor",
    "steps_per_execution=16": "tuned",
    "jit_compile=False": "tuned",
    "jit_compile=True": "tuned",
    "validation": "tuned",
    "validation in one batch": "tuned",
}
"""What can be timed → which kind it is; the floors are whole epochs in one compiled function."""

_COMPILED: Mapping[str, Mapping[str, Any]] = {
    "steps_per_execution=16": {"steps_per_execution": 16},
    "jit_compile=False": {"jit_compile": False},
    "jit_compile=True": {"jit_compile": True},
}
"""Configuration → what `compile` gets; the others leave the model as it was compiled."""

clock = time.perf_counter


def configurations() -> dict[str, str]:
    """See `Framework.configurations`."""
    return dict(CONFIGURATIONS)


def time_fit(
    handle: keras.Model,
    data: Mapping[str, tuple[Array, Array]],
    *,
    configuration: str,
    epochs: int,
    batch_size: int,
) -> dict[str, Any]:
    """See `Framework.time_fit`; `note` says whether Keras chose to compile by XLA."""
    if CONFIGURATIONS[configuration] == "floor":
        jit = configuration == "floor (XLA)"
        floor = partial(train, handle, data["train"], batch_size=batch_size, jit_compile=jit)
        return time_floor(floor, len(data["train"][0]), epochs=epochs, clock=clock)
    compiled = _COMPILED.get(configuration, {})
    if compiled:
        handle.compile(
            optimizer=handle.optimizer,
            loss="binary_crossentropy",
            metrics=["accuracy"],
            **compiled,
        )
    validation: dict[str, Any] = {}
    if configuration.startswith("validation"):
        whole = len(data["test"][0]) if configuration == "validation in one batch" else None
        validation = {"validation_data": data["test"], "validation_batch_size": whole}
    stamps = _Stamps()
    options = {**validation, "batch_size": batch_size, "epochs": epochs, "callbacks": [stamps]}
    stamps.start = clock()
    handle.fit(*data["train"], verbose=0, **options)
    note = f"jit_compile={'' if 'jit_compile' in compiled else 'auto, '}{handle.jit_compile}"
    return {"first_step": stamps.first_step, "epoch_ends": stamps.epoch_ends, "note": note}


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

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        original: Callable[..., Any] = self.model.train_function

        def first(iterator: Any) -> Any:
            self.model.train_function = original
            logs = original(iterator)
            float(next(iter(logs.values())))
            self.first_step = clock() - self.start
            return logs

        self.model.train_function = first

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        float((logs or {}).get("loss", 0.0))
        self.epoch_ends.append(clock() - self.start)


def train(
    model: keras.Model,
    data: tuple[Array, Array],
    *,
    orders: NDArray[Any],
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
