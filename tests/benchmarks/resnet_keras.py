"""A residual network of bottleneck blocks: 50 layers and 25.6 million parameters by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

_EXPANSION = 4
"""A block returns four times as many channels as it computes with."""


def build_resnet(
    blocks: Sequence[int] = (3, 4, 6, 3), *, width: int = 64, classes: int = 1000, size: int = 224
) -> keras.Model:
    """Residual blocks of three convolutions behind a 7×7 one, and a softmax output.

    The first block of every stage but the first halves the image, in its first convolution. What
    is padded is padded here, where a reader sees it: `padding="same"` at stride 2 would pad less on
    the left than on the right.

    Args:
        blocks: Blocks per stage; the channels double from stage to stage.
        width: Channels within a block of the first stage.
        classes: Number of classes.
        size: Height and width of an image.

    Input shape:
        `(batch, size, size, 3)`: height, width, channel.

    Output shape:
        `(batch, classes)`: probability of every class.

    Reference:
        He et al., 2015, https://arxiv.org/abs/1512.03385
    """
    inputs = keras.Input(shape=(size, size, 3))
    x = layers.ZeroPadding2D(3)(inputs)
    x = _relu(_normed(x, width, 7, strides=2, name="conv1"))
    # Behind a ReLU nothing is below the zeros of the border.
    x = layers.ZeroPadding2D(1)(x)
    x = layers.MaxPooling2D(3, strides=2)(x)
    for stage, count in enumerate(blocks):
        for block in range(count):
            strides = 2 if stage and not block else 1
            x = _block(
                x, width * 2**stage, strides=strides, name=f"conv{stage + 2}_block{block + 1}"
            )
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name="resnet")


def _block(x: Any, channels: int, *, strides: int, name: str) -> Any:
    """1×1, 3×3 and 1×1 convolutions, and a shortcut: `x` itself if it has the shape, else 1×1."""
    shortcut, returned = x, _EXPANSION * channels
    x = _relu(_normed(x, channels, 1, strides=strides, name=f"{name}_1"))
    x = _relu(_normed(x, channels, 3, name=f"{name}_2"))
    x = _normed(x, returned, 1, name=f"{name}_3")
    if strides > 1 or shortcut.shape[-1] != returned:
        shortcut = _normed(shortcut, returned, 1, strides=strides, name=f"{name}_0")
    return _relu(layers.Add()([x, shortcut]))


def _normed(x: Any, channels: int, kernel: int, *, name: str, strides: int = 1) -> Any:
    """A convolution without a bias, which the batch normalization behind it would take off."""
    x = layers.Conv2D(
        channels,
        kernel,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)


def _relu(x: Any) -> Any:
    return layers.ReLU()(x)


def build_resnet50() -> keras.Model:
    """The network with 50 layers for 1,000 classes; see `build_resnet`."""
    return build_resnet()
