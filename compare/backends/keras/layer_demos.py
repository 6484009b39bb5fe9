"""Small computations for conventions of layers, losses and callbacks, as in `demos`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, losses, ops

from compare.backends.keras.demos import Demonstration, normal
from compare.data import Array

WEIGHTS, LABELS = np.array([1.0, 5.0, 0.5]), np.arange(20) % 3
CURVE = [1.0, 0.9, 0.95, 0.9, 0.9, 0.9, 0.89995, 0.9, 0.9, 0.9]
"""A validation loss after every epoch."""

SEQUENCES = np.array([[1, 2, 0], [2, 0, 0]])
"""Labels of two sequences; 0 pads them."""


def image(size: int) -> Array:
    """Whole numbers: TensorFlow interpolates in float32, which holds them."""
    return np.arange(size * size, dtype=np.float64).reshape(1, size, size, 1)


def ahead(*steps: int) -> Array:
    """Which steps of five a sequence of so many has."""
    return np.array([np.arange(5) < count for count in steps])


def _plateau(remedied: bool) -> dict[str, Any]:
    """The learning rates of a schedule that waits for a loss."""
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    callback = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=2)
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, loss in enumerate(CURVE):
        callback.on_epoch_end(epoch, {"loss": loss})
        rates.append(float(np.asarray(model.optimizer.learning_rate)))
    return {"rates": np.array(rates)}


def _stopped(remedied: bool) -> dict[str, Any]:
    """The epoch after which training stops, by default."""
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.stop_training = False
    callback = keras.callbacks.EarlyStopping("loss")
    callback.set_model(model)
    callback.on_train_begin()
    epochs = 0
    while not model.stop_training:
        callback.on_epoch_end(epochs, {"loss": CURVE[epochs]})
        epochs += 1
    return {"epochs": np.float64(epochs)}


def _both_ways(remedied: bool) -> dict[str, Any]:
    """What a recurrent layer returns that reads in both directions."""
    rnn = layers.Bidirectional(layers.SimpleRNN(4))
    rnn.build((None, None, 3))
    rnn.set_weights([normal(3, 4), normal(4, 4), np.zeros(4)] * 2)
    return {"output": rnn(normal(8, 5, 3))}


def _per_pixel(remedied: bool) -> dict[str, Any]:
    """A PReLU of images: every pixel has a slope of its own."""
    layer = layers.PReLU()
    layer.build((None, 3, 3, 2))
    layer.set_weights([normal(3, 3, 2)])
    return {"output": layer(normal(4, 3, 3, 2))}


DEMONSTRATIONS: dict[str, Demonstration] = {
    # A fresh table of 50 tokens: is every number within 0.05?
    "embedding-initializers": lambda remedied: {
        "small": np.float64(np.abs(_table()).max() <= 0.05)
    },
    # A kernel of 4×4 pixels, padded to the size of the image.
    "same-padding-size": lambda remedied: {
        "output": ops.conv(normal(2, 6, 6, 1), normal(4, 4, 1, 2), padding="same")
    },
    # The mean of each channel of an image of 4×4 pixels.
    "image-layout": lambda remedied: {"output": normal(2, 4, 4, 3).mean((1, 2))},
    # An image of 3×3 pixels, twice as large.
    "align-corners": lambda remedied: {
        "output": layers.UpSampling2D(2, interpolation="bilinear")(image(3))
    },
    # An image of 8×8 pixels, a quarter as large.
    "resize-antialias": lambda remedied: {"output": layers.Resizing(2, 2)(image(8))},
    # Two heads of four features each.
    "attention-key-dim": lambda remedied: {
        "output": ops.dot_product_attention(*(normal(8, 5, 2, 4) * s for s in (1.0, 2.0, 3.0)))
    },
    # Self-attention within the steps that the mask has.
    "attention-mask": lambda remedied: {
        "output": ops.dot_product_attention(
            *[normal(2, 5, 1, 4)] * 3, mask=ahead(5, 3)[:, None, None, :]
        )[:, :, 0]
    },
    "bidirectional-last-step": _both_ways,
    # A sigmoid of straight lines.
    "hard-sigmoid": lambda remedied: {"output": ops.hard_sigmoid(normal(20, 3))},
    "prelu-per-pixel": _per_pixel,
    # A kernel (3, 4) whose units have weights of a norm of at most 1.
    "constraint-axis": lambda remedied: {"kernel": keras.constraints.MaxNorm(1.0)(normal(3, 4))},
    # The cross-entropy of classes that weigh 1, 5 and 0.5.
    "class-weights": lambda remedied: {
        "loss": losses.SparseCategoricalCrossentropy(from_logits=True)(
            LABELS, normal(20, 3), sample_weight=WEIGHTS[LABELS]
        )
    },
    # The squared error of samples with weights.
    "sample-weights": lambda remedied: {
        "loss": losses.MeanSquaredError()(
            normal(20, 1), 2 * normal(20, 1), sample_weight=WEIGHTS[LABELS]
        )
    },
    # The cross-entropy of probabilities.
    "nll-probabilities": lambda remedied: {
        "loss": losses.SparseCategoricalCrossentropy()(LABELS, ops.softmax(normal(20, 3)))
    },
    # The divergence of one distribution over three classes from another.
    "kl-batchmean": lambda remedied: {
        "loss": losses.KLDivergence()(ops.softmax(normal(20, 3)), ops.softmax(-normal(20, 3)))
    },
    # The cross-entropy of smoothed labels.
    "label-smoothing": lambda remedied: {
        "loss": losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)(
            np.eye(3)[LABELS], normal(20, 3)
        )
    },
    # Huber's loss with δ = 0.5.
    "huber-delta": lambda remedied: {"loss": losses.Huber(0.5)(normal(20, 1), 3 * normal(20, 1))},
    # The loss of two sequences of labels, to a digit that float32 has.
    "ctc-lengths": lambda remedied: {
        "loss": np.round(np.asarray(losses.CTC()(SEQUENCES, normal(2, 6, 4))), 4)
    },
    "plateau-patience": _plateau,
    "early-stopping": _stopped,
}
"""Name of the convention → its demonstration."""


def _table() -> Array:
    table = layers.Embedding(50, 8)
    table.build()
    return np.asarray(table.get_weights()[0])
