"""A bidirectional LSTM that hands its sequence to a second LSTM."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

from pairs import Bug


def build_keras():
    inputs = keras.Input((6, 4))
    x = layers.Bidirectional(layers.LSTM(5, return_sequences=True), name="both_ways")(inputs)
    x = layers.LSTM(7, name="summary")(x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    sgd = keras.optimizers.SGD(0.1, momentum=np.float64(0.9))
    model.compile(sgd, "mean_squared_error")
    return model


def single_bias(lstm):
    """Keras has one bias per gate: the second stays at zero."""
    for name, p in lstm.named_parameters():
        if name.startswith("bias_hh"):
            nn.init.zeros_(p).requires_grad_(False)
    return lstm


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(7, 2)
        self.encoder = single_bias(nn.LSTM(4, 5, bidirectional=True, batch_first=True))
        self.summary = single_bias(nn.LSTM(10, 7))

    def forward(self, x):
        x, _ = self.encoder(x)
        x, _ = self.summary(x.transpose(0, 1))
        return self.head(x[-1])


build_torch = Tagger

OBJECTIVE = {
    "torch_loss": nn.functional.mse_loss,
    "torch_optimizer": lambda p: torch.optim.SGD(
        [q for q in p if q.requires_grad], lr=0.1, momentum=0.9
    ),
}


def inputs(rng):
    return rng.normal(size=(5, 6, 4)), rng.normal(size=(5, 2))


class BatchForTime(Tagger):
    """`batch_first` forgotten: the batch is taken for time, without an error."""

    def forward(self, x):
        x, _ = self.encoder(x)
        x, _ = self.summary(x)
        return self.head(x[:, -1])


class Reversed(Tagger):
    def forward(self, x):
        x, _ = self.encoder(x)
        x, _ = self.summary(x.transpose(0, 1).flip(0))
        return self.head(x[-1])


class DirectionsSwapped(Tagger):
    def forward(self, x):
        x, _ = self.encoder(x)
        x, _ = self.summary(x.transpose(0, 1).roll(5, -1))
        return self.head(x[-1])


def both_biases(lstm):
    for p in lstm.parameters():
        p.requires_grad_(True)


def gates_exchanged(module):
    """Input, candidate, forget, output."""
    with torch.no_grad():
        for p in module.summary.parameters():
            i, f, c, o = p.clone().chunk(4)
            p.copy_(torch.cat([i, c, f, o]))


BUGS = [
    Bug("batch for time", "between both_ways and summary", 4, build=BatchForTime),
    Bug("reversed in time", "between both_ways and summary", 4, build=Reversed),
    Bug("directions swapped", "between both_ways and summary", 4, build=DirectionsSwapped),
    Bug("two biases trained", "both_ways", 7, spoil=lambda m: both_biases(m.encoder)),
    Bug("two biases in the second", "summary", 7, spoil=lambda m: both_biases(m.summary)),
    Bug("gate order", "summary", 3, spoil=gates_exchanged),
]
