"""A causal 1-D convolutional network; Torch flattens channels first."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn
from torch.nn import functional as F

from pairs import Bug
from pairs.optimizers import KerasAdam


def build_keras():
    inputs = keras.Input((12, 3))
    x = layers.Conv1D(8, 3, padding="causal", activation="relu", name="conv1")(inputs)
    x = layers.GroupNormalization(groups=4, name="norm1")(x)
    x = layers.Conv1D(8, 3, dilation_rate=2, padding="causal", name="conv2")(x)
    x = layers.GroupNormalization(groups=2, name="norm2")(x)
    x = layers.Activation("silu")(x)
    x = layers.Conv1D(6, 4, strides=2, padding="same", groups=2, name="conv3")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(10, activation="tanh", name="hidden")(x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    adam = keras.optimizers.Adam(1e-2, beta_1=np.float64(0.9), beta_2=np.float64(0.999))
    model.compile(adam, "mean_squared_error")
    return model


class TemporalNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(3, 8, 3)
        self.second = nn.Conv1d(8, 8, 3, dilation=2)
        self.third = nn.Conv1d(8, 6, 4, stride=2, padding=1, groups=2)
        self.norm_a = nn.GroupNorm(4, 8, eps=1e-3)
        self.norm_b = nn.GroupNorm(2, 8, eps=1e-3)
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.Tanh(), nn.Linear(10, 2))

    def forward(self, x):
        x = self.norm_a(F.relu(self.first(F.pad(x, (2, 0)))))
        x = F.silu(self.norm_b(self.second(F.pad(x, (4, 0)))))
        return self.fc(self.third(x))


build_torch = TemporalNet

OBJECTIVE = {"torch_loss": nn.MSELoss(), "torch_optimizer": lambda p: KerasAdam(p, lr=1e-2)}


def inputs(rng):
    return rng.normal(size=(6, 12, 3)), rng.normal(size=(6, 2))


class Centred(TemporalNet):
    """`padding=1` sees one step of the future."""

    def __init__(self):
        super().__init__()
        self.first.padding = (1,)

    def forward(self, x):
        x = self.norm_a(F.relu(self.first(x)))
        x = F.silu(self.norm_b(self.second(F.pad(x, (4, 0)))))
        return self.fc(self.third(x))


class Undilated(TemporalNet):
    def __init__(self):
        super().__init__()
        self.second.dilation = (1,)

    def forward(self, x):
        x = self.norm_a(F.relu(self.first(F.pad(x, (2, 0)))))
        x = F.silu(self.norm_b(self.second(F.pad(x, (2, 0)))))
        return self.fc(self.third(x))


def rows_as_in_keras(module):
    """What a kernel copied with nothing but a transposition holds."""
    linear = module.fc[1]
    weight = linear.weight.detach().reshape(10, 6, 6)
    linear.weight.data = weight.transpose(1, 2).reshape(10, 36).contiguous()


BUGS = [
    Bug("same for causal", "conv1", 4, build=Centred),
    Bug("wrong dilation", "conv2", 4, build=Undilated),
    Bug("Torch's epsilon", "norm1", 4, spoil=lambda m: setattr(m.norm_a, "eps", 1e-5)),
    Bug("wrong groups", "norm2", 4, spoil=lambda m: setattr(m.norm_b, "num_groups", 4)),
    Bug("flatten order", "between conv3 and hidden", 4, spoil=rows_as_in_keras),
    Bug(
        "Torch's Adam",
        "optimizer",
        7,
        objective={"torch_optimizer": lambda p: torch.optim.Adam(p, lr=1e-2)},
    ),
]
