"""A strided Conv1D, LayerNormalization, SimpleRNN and Conv1DTranspose in a row."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn
from torch.nn import functional as F

from pairs import Bug


def build_keras():
    model = keras.Sequential(
        [
            keras.Input((9, 3)),
            layers.Conv1D(6, 3, strides=2, padding="same", name="shorten"),
            layers.LayerNormalization(name="norm"),
            layers.SimpleRNN(5, return_sequences=True, name="rnn"),
            layers.Conv1DTranspose(4, 3, strides=2, padding="same", name="lengthen"),
            layers.Activation("softplus"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2, name="head"),
        ]
    )
    sgd = keras.optimizers.SGD(0.05, momentum=np.float64(0.8), nesterov=True)
    model.compile(sgd, keras.losses.Huber())
    return model


class Hourglass(nn.Module):
    """9 steps become 5, which TensorFlow pads by (1, 1); 5 become 11, which it crops to 10."""

    def __init__(self, nonlinearity="tanh"):
        super().__init__()
        self.down = nn.Conv1d(3, 6, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose1d(5, 4, 3, stride=2)
        self.norm = nn.LayerNorm(6, eps=1e-3)
        self.rnn = nn.RNN(6, 5, nonlinearity=nonlinearity)
        self.rnn.bias_hh_l0.requires_grad_(False).zero_()
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        x = self.norm(self.down(x).permute(2, 0, 1))
        x, _ = self.rnn(x)
        x = F.softplus(self.up(x.permute(1, 2, 0))[..., :-1])
        return self.out(x.mean(-1))


build_torch = Hourglass


def sgd(parameters, **options):
    trained = [p for p in parameters if p.requires_grad]
    return torch.optim.SGD(trained, lr=0.05, momentum=0.8, **options)


OBJECTIVE = {
    "torch_loss": nn.HuberLoss(),
    "torch_optimizer": lambda p: sgd(p, nesterov=True),
}


def inputs(rng):
    return rng.normal(size=(5, 9, 3)), rng.normal(size=(5, 2))


class Untrimmed(Hourglass):
    def forward(self, x):
        x = self.norm(self.down(x).permute(2, 0, 1))
        x, _ = self.rnn(x)
        return self.out(F.softplus(self.up(x.permute(1, 2, 0))).mean(-1))


class BatchForTime(Hourglass):
    def forward(self, x):
        x = self.norm(self.down(x).transpose(1, 2))
        x, _ = self.rnn(x)
        x = F.softplus(self.up(x.transpose(1, 2))[..., :-1])
        return self.out(x.mean(-1))


BUGS = [
    Bug("ReLU for tanh", "rnn", 4, build=lambda: Hourglass("relu")),
    Bug("Torch's epsilon", "norm", 4, spoil=lambda m: setattr(m.norm, "eps", 1e-5)),
    Bug("one step too many", "between lengthen and head", 4, build=Untrimmed),
    Bug("batch for time", "between norm and rnn", 4, build=BatchForTime),
    Bug(
        "two biases trained",
        "rnn",
        7,
        spoil=lambda m: m.rnn.bias_hh_l0.requires_grad_(True),
    ),
    Bug("Nesterov forgotten", "optimizer", 7, objective={"torch_optimizer": sgd}),
]
