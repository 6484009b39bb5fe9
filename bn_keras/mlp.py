"""The tutorial's multilayer perceptron, with batch normalization in one of three places."""

from __future__ import annotations

import keras
from keras import layers


def build_mlp(
    batch_norm: str | None = None,
    *,
    affine: bool = True,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    units: int = 50,
) -> keras.Model:
    """A hidden layer of rectified units, 50 in the tutorial, and a sigmoid output.

    Batch normalization computes `gamma * (x - mean) / sqrt(variance + epsilon) + beta`. In
    training, mean and (biased) variance are those of the batch; in inference they are
    `moving_mean` and `moving_variance`, which follow the batches as
    `moving = momentum * moving + (1 - momentum) * batch`.

    Args:
        batch_norm: Where to normalize: None for nowhere, `"after"` the activation of the hidden
            layer, `"before"` its activation, or the `"input"`.
        affine: Whether the normalization learns a scale gamma and a shift beta.
        momentum: Share of the old moving statistics that a batch leaves, in [0, 1].
        epsilon: Added to the variance.
        units: Width of the hidden layer.

    Input shape:
        `(batch, 2)`: the two coordinates of a point.

    Output shape:
        `(batch, 1)`: probability of the inner circle.

    Raises:
        ValueError: `batch_norm` is none of the above.

    Reference:
        - [Ioffe & Szegedy, 2015](https://arxiv.org/abs/1502.03167)
    """
    if batch_norm not in (None, "after", "before", "input"):
        raise ValueError(
            f"batch_norm must be None, 'after', 'before' or 'input', not {batch_norm!r}"
        )

    def normalization() -> layers.Layer:
        return layers.BatchNormalization(
            momentum=momentum, epsilon=epsilon, center=affine, scale=affine, name="batch_norm"
        )

    model = keras.Sequential(name="mlp")
    model.add(keras.Input(shape=(2,)))
    if batch_norm == "input":
        model.add(normalization())
    if batch_norm == "before":
        model.add(layers.Dense(units, kernel_initializer="he_uniform", name="hidden"))
        model.add(normalization())
        model.add(layers.Activation("relu"))
    else:
        model.add(
            layers.Dense(units, activation="relu", kernel_initializer="he_uniform", name="hidden")
        )
    if batch_norm == "after":
        model.add(normalization())
    model.add(layers.Dense(1, activation="sigmoid", name="output"))
    return model
