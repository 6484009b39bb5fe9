"""The tutorial's convolutional network, with or without batch normalization."""

from __future__ import annotations

import keras
from keras import layers


def build_cnn(
    batch_norm: str | None = None, *, momentum: float = 0.99, epsilon: float = 1e-3
) -> keras.Model:
    """Two convolutions of 32 filters, max pooling and a sigmoid output.

    Args:
        batch_norm: None, or `"after"` the second convolution's activation. Statistics are taken
            per channel, over the batch and both spatial axes.
        momentum: Share of the old moving statistics that a batch leaves, in [0, 1].
        epsilon: Added to the variance.

    Input shape:
        `(batch, 8, 8, 1)`: height, width, channel.

    Output shape:
        `(batch, 1)`: probability of the inner circle.

    Raises:
        ValueError: `batch_norm` is neither None nor `"after"`.
    """
    if batch_norm not in (None, "after"):
        raise ValueError(f"batch_norm must be None or 'after', not {batch_norm!r}")
    model = keras.Sequential(name="cnn")
    model.add(keras.Input(shape=(8, 8, 1)))
    model.add(layers.Conv2D(32, 3, activation="relu", name="conv1"))
    model.add(layers.Conv2D(32, 3, activation="relu", name="conv2"))
    if batch_norm:
        model.add(layers.BatchNormalization(momentum=momentum, epsilon=epsilon, name="batch_norm"))
    model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    model.add(layers.Dense(1, activation="sigmoid", name="output"))
    return model
