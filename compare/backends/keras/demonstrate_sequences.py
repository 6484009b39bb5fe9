"""Conventions of tokens and recurrent layers, each on a computation of a few lines.

Each function has a twin of the same name in `torch.demonstrate_sequences`, from the same
numbers, and takes `remedied`: whether the remedy is in place.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from compare.backends.keras.demonstrate_layers import Arrays, normal

TOKENS = np.array([[1, 2, 3, 1], [2, 1, 1, 0], [3, 4, 0, 0], [4, 0, 0, 0]])
"""Four sequences; token 0 pads them at the end."""


def embedding(**options: Any) -> layers.Embedding:
    """Five tokens of three features."""
    table = layers.Embedding(5, 3, name="tokens", **options)
    table.build()
    table.set_weights([normal(5, 3)])
    return table


def trained(optimizer: keras.optimizers.Optimizer) -> Arrays:
    """The table of tokens after 30 steps towards random targets."""
    table = embedding()
    model = keras.Sequential([keras.Input((4,), dtype="int32"), table])
    model.compile(optimizer, loss="mse")
    for _ in range(30):
        model.train_on_batch(TOKENS, normal(4, 4, 3))
    return {"tokens": keras.ops.convert_to_numpy(table.embeddings)}


def padding_idx(remedied: bool) -> Arrays:
    """A table all of whose rows are trained."""
    return trained(keras.optimizers.SGD(0.5))


class DenseRMSprop(keras.optimizers.RMSprop):
    """Adds up what the occurrences of a token contribute before it squares them."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(tf.convert_to_tensor(gradient), variable, learning_rate)


def sparse_gradients(remedied: bool) -> Arrays:
    """A table of which tokens occur more than once, trained with RMSprop."""
    rmsprop = DenseRMSprop if remedied else keras.optimizers.RMSprop
    return trained(rmsprop(0.01, rho=np.float64(0.9)))


def mask_zero(remedied: bool) -> Arrays:
    """A recurrent layer that skips padding."""
    rnn = layers.SimpleRNN(4)
    rnn.build((None, 4, 3))
    rnn.set_weights([normal(3, 4), normal(4, 4), np.zeros(4)])
    return {"output": keras.ops.convert_to_numpy(rnn(embedding(mask_zero=True)(TOKENS)))}


def gru_reset_after(remedied: bool) -> Arrays:
    """A GRU of four units that resets its state before the recurrent kernel."""
    gru = layers.GRU(4, reset_after=False)
    gru.build((None, 5, 3))
    gru.set_weights([normal(3, 12), normal(4, 12), np.zeros(12)])
    return {"output": keras.ops.convert_to_numpy(gru(normal(8, 5, 3)))}
