"""Compiling and fitting, as the tutorial does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np

from bn_keras.data import PlannedBatches


def compile_model(
    model: keras.Model, *, learning_rate: float = 0.01, momentum: float = 0.9
) -> keras.Model:
    """Compile with SGD, binary cross-entropy and accuracy.

    The loss is computed from the logits behind the sigmoid (keras `backend/tensorflow/nn.py`), so
    it does not saturate. In float64, Keras still rounds a Python float `momentum` to float32: pass
    `np.float64(0.9)` to keep every digit.

    Args:
        model: Any model with a sigmoid output.
        learning_rate: Step size, > 0.
        momentum: Share of the last update that carries on, in [0, 1].

    Returns:
        The same model.
    """
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate=learning_rate, momentum=momentum),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model


def reporting(on_epoch: Callable[[float, float], None]) -> keras.callbacks.Callback:
    """A callback that hands on the running training loss and accuracy of every epoch."""

    def report(epoch: int, logs: dict[str, float]) -> None:
        on_epoch(float(logs["loss"]), float(logs["accuracy"]))

    return keras.callbacks.LambdaCallback(on_epoch_end=report)


def fit(
    model: keras.Model,
    batches: PlannedBatches,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    validation_data: tuple[np.ndarray, np.ndarray] | None = None,
    verbose: int = 0,
) -> keras.callbacks.History:
    """Train for as many epochs as `batches` has orders, in those orders.

    To shuffle instead, call `model.fit` itself.

    Args:
        model: A compiled model.
        batches: Samples and the order of every epoch.
        callbacks: Keras callbacks, called after the order of the epoch is set.
        validation_data: Samples and labels that Keras evaluates after every epoch.
        verbose: 0 for silence, 1 for a progress bar.

    Returns:
        Keras' history: `loss` and `accuracy` per epoch, running means over the batches in training
        mode, each batch seen before its own update.
    """
    return model.fit(
        batches,
        epochs=len(batches.orders),
        shuffle=False,
        callbacks=[batches.callback, *callbacks],
        validation_data=validation_data,
        verbose=verbose,
    )
