"""A transformer block over tokens with learned positions, AdamW on a schedule.

Keras rounds the attention's scale 1/√key_dim to float32, in float64 too: a power of 4 is exact.
Its adaptive optimizers square the gradient of each occurrence of a token, Torch's their sum.
"""

import keras
import lightning as L
import numpy as np
import tensorflow as tf
import torch
from keras import layers, ops
from torch import nn

from pairs import Bug
from pairs.optimizers import KerasAdam, KerasAdamW


class TokenAndPosition(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.tokens = layers.Embedding(16, 8, name="tokens")
        self.positions = layers.Embedding(6, 8, name="positions")

    def call(self, x):
        return self.tokens(x) + self.positions(ops.arange(ops.shape(x)[-1]))


class TransformerBlock(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.attention = layers.MultiHeadAttention(2, 4, name="attention")
        self.expand = layers.Dense(12, activation="relu", name="expand")
        self.reduce = layers.Dense(8, name="reduce")
        self.norm1 = layers.LayerNormalization(epsilon=1e-6, name="norm1")
        self.norm2 = layers.LayerNormalization(epsilon=1e-6, name="norm2")

    def call(self, x):
        x = self.norm1(x + self.attention(x, x))
        return self.norm2(x + self.reduce(self.expand(x)))


class DenseAdamW(keras.optimizers.AdamW):
    """Adds up what the occurrences of a token contribute before it squares them."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(tf.convert_to_tensor(gradient), variable, learning_rate)


def build_keras():
    inputs = keras.Input((6,), dtype="int32")
    x = TokenAndPosition(name="embed")(inputs)
    x = TransformerBlock(name="block")(x)
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))
    rate = keras.optimizers.schedules.ExponentialDecay(
        np.float64(1e-2), decay_steps=2, decay_rate=np.float64(0.5)
    )
    betas = {"beta_1": np.float64(0.9), "beta_2": np.float64(0.999)}
    adamw = DenseAdamW(rate, weight_decay=np.float64(0.01), **betas)
    model.compile(adamw, "sparse_categorical_crossentropy")
    return model


class Encoder(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.ln_1 = nn.LayerNorm(8, eps=1e-6)
        self.attn = nn.MultiheadAttention(8, heads)
        self.ln_2 = nn.LayerNorm(8, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8))

    def forward(self, x):
        x = x.transpose(0, 1)
        x = self.ln_1(x + self.attn(x, x, x, need_weights=False)[0])
        return self.ln_2(x + self.mlp(x)).transpose(0, 1)


class Transformer(L.LightningModule):
    encoder = Encoder

    def __init__(self, heads=2, *, scheduled=True, optimizer=KerasAdamW):
        super().__init__()
        self.wpe = nn.Embedding(6, 8)
        self.wte = nn.Embedding(16, 8)
        self.h = self.encoder(heads)
        self.classifier = nn.Linear(8, 3)
        self.scheduled, self.optimizer = scheduled, optimizer

    def forward(self, tokens):
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.h(self.wte(tokens) + self.wpe(positions))
        return self.classifier(x.mean(dim=1))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def configure_optimizers(self):
        optimizer = self.optimizer(self.parameters(), lr=1e-2, weight_decay=0.01)
        if not self.scheduled:
            return optimizer
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 ** (step / 2))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": rate, "interval": "step"},
        }


build_torch = Transformer


def inputs(rng):
    return rng.integers(0, 16, (7, 6)), rng.integers(0, 3, 7)


class PreNorm(Encoder):
    def forward(self, x):
        x = x.transpose(0, 1)
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return (x + self.mlp(self.ln_2(x))).transpose(0, 1)


class WithoutResidual(Encoder):
    def forward(self, x):
        x = x.transpose(0, 1)
        x = self.ln_1(self.attn(x, x, x, need_weights=False)[0])
        return self.ln_2(x + self.mlp(x)).transpose(0, 1)


class Prenormed(Transformer):
    encoder = PreNorm


class ForgottenResidual(Transformer):
    encoder = WithoutResidual


class BatchForTime(Transformer):
    """`batch_first` taken for granted: every token attends to the same place of other samples."""

    class encoder(Encoder):  # noqa: N801
        def forward(self, x):
            return super().forward(x.transpose(0, 1)).transpose(0, 1)


BUGS = [
    Bug("pre-norm", "between embed/positions and block/attention", 4, build=Prenormed),
    Bug("batch for time", "between embed/positions and block/attention", 4, build=BatchForTime),
    Bug("four heads", "block/attention", 1, build=lambda: Transformer(heads=4)),
    Bug(
        "forgotten residual",
        "between block/attention and block/norm1",
        4,
        build=ForgottenResidual,
    ),
    Bug("Torch's epsilon", "block/norm2", 4, spoil=lambda m: setattr(m.h.ln_2, "eps", 1e-5)),
    Bug(
        "missing activation",
        "between block/expand and block/reduce",
        4,
        spoil=lambda m: m.h.mlp.__setitem__(1, nn.Identity()),
    ),
    Bug("forgotten schedule", "optimizer", 7, build=lambda: Transformer(scheduled=False)),
    Bug(
        "weight decay through the gradient",
        "optimizer",
        7,
        build=lambda: Transformer(optimizer=KerasAdam),
    ),
]
