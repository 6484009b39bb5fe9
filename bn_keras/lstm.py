"""The tutorial's recurrent network, with or without batch normalization."""

from __future__ import annotations

import keras
from keras import layers


def build_lstm(
    batch_norm: str | None = None, *, momentum: float = 0.99, epsilon: float = 1e-3
) -> keras.Model:
    """An LSTM of 32 units whose last output feeds a sigmoid.

    Args:
        batch_norm: None, or `"after"` the LSTM: its last output is normalized.
        momentum: Share of the old moving statistics that a batch leaves, in [0, 1].
        epsilon: Added to the variance.

    Input shape:
        `(batch, 2, 1)`: time steps, features; one coordinate of the point per step.

    Output shape:
        `(batch, 1)`: probability of the inner circle.

    Raises:
        ValueError: `batch_norm` is neither None nor `"after"`.
    """
    if batch_norm not in (None, "after"):
        raise ValueError(f"batch_norm must be None or 'after', not {batch_norm!r}")
    model = keras.Sequential(name="lstm_classifier")
    model.add(keras.Input(shape=(2, 1)))
    model.add(layers.LSTM(32, name="lstm"))
    if batch_norm:
        model.add(layers.BatchNormalization(momentum=momentum, epsilon=epsilon, name="batch_norm"))
    model.add(layers.Dense(1, activation="sigmoid", name="output"))
    return model
