"""A GRU over embedded tokens; Torch's takes time first."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

from pairs import Bug


def build_keras():
    model = keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            layers.Embedding(20, 6, name="tokens"),
            layers.GRU(8, name="gru"),
            layers.Dense(8, activation="relu", name="hidden"),
            layers.Dense(3, name="head"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=np.float64(0.9)), loss)
    return model


class Reader(nn.Module):
    def __init__(self, **embedding):
        super().__init__()
        self.rnn = nn.GRU(6, 8)
        self.embed = nn.Embedding(20, 6, **embedding)
        self.out = nn.Linear(8, 3)
        self.hidden = nn.Linear(8, 8)

    def forward(self, tokens):
        _, last = self.rnn(self.embed(tokens))
        return self.out(self.hidden(last[-1]).relu())


build_torch = Reader

OBJECTIVE = {
    "torch_loss": nn.CrossEntropyLoss(),
    "torch_optimizer": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
}


def to_torch(x):
    """(batch, time) to (time, batch)."""
    return x.T


def inputs(rng):
    return rng.integers(0, 20, (9, 7)), rng.integers(0, 3, 9)


class FirstStep(Reader):
    def forward(self, tokens):
        steps, _ = self.rnn(self.embed(tokens))
        return self.out(self.hidden(steps[0]).relu())


class WithoutActivation(Reader):
    def forward(self, tokens):
        _, last = self.rnn(self.embed(tokens))
        return self.out(self.hidden(last[-1]))


def gates_as_in_keras(module):
    """Update before reset, as a kernel copied with nothing but a transposition has them."""
    with torch.no_grad():
        for p in module.rnn.parameters():
            reset, update, new = p.clone().chunk(3)
            p.copy_(torch.cat([update, reset, new]))


def without_recurrent_bias(module):
    nn.init.zeros_(module.rnn.bias_hh_l0)


BUGS = [
    Bug("gate order", "gru", 3, spoil=gates_as_in_keras),
    Bug("one of two biases", "gru", 3, spoil=without_recurrent_bias),
    Bug("the first step for the last", "between gru and hidden", 4, build=FirstStep),
    Bug("missing activation", "between hidden and head", 4, build=WithoutActivation),
    Bug("padding_idx", "tokens", 6, build=lambda: Reader(padding_idx=0)),
    Bug(
        "learning rate left at Torch's",
        "optimizer",
        7,
        objective={"torch_optimizer": lambda p: torch.optim.SGD(p, momentum=0.9)},
    ),
]
