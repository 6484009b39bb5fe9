"""`model.fit` under a clock, as a user writes it, tuned, and beside it the floor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

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
    from compare.backends.keras import floor

    ends: list[float] = []
    rng = np.random.default_rng(0)
    orders = np.stack([rng.permutation(len(train[0])) for _ in range(epochs)])
    start = clock()
    floor.train(
        handle,
        train,
        orders=orders,
        batch_size=batch_size,
        on_epoch=lambda loss, accuracy: ends.append(clock() - start),
        jit_compile=configuration == "floor (XLA)",
    )
    return {"first_step": None, "epoch_ends": ends, "note": ""}
