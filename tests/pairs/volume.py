"""Convolutions in three dimensions, both ways, and a norm that has a scale and no shift."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

from bn_torch import BiasedBatchNorm
from pairs import Bug
from pairs.optimizers import KerasRMSprop


def build_keras():
    volumes = keras.Input((5, 6, 4, 2))
    x = layers.Conv3D(4, (3, 3, 2), padding="same", use_bias=False, name="conv")(volumes)
    x = layers.BatchNormalization(center=False, momentum=0.95, name="norm")(x)
    x = layers.Activation("tanh")(x)
    x = layers.Conv3DTranspose(3, 2, strides=2, name="deconv")(x)
    x = layers.GlobalMaxPooling3D()(x)
    model = keras.Model(volumes, layers.Dense(2, name="head")(x))
    model.compile(keras.optimizers.RMSprop(2e-3, rho=np.float64(0.9)), "mean_squared_error")
    return model


class Voxels(nn.Module):
    def __init__(self):
        super().__init__()
        norm = BiasedBatchNorm(4, eps=1e-3, momentum=1.0 - 0.95)
        norm.bias = None
        self.encoder = nn.ModuleDict(
            {
                "norm": norm,
                "conv": nn.Conv3d(2, 4, (3, 3, 2), padding="same", bias=False),
            }
        )
        self.up = nn.ConvTranspose3d(4, 3, 2, stride=2)
        self.lin = nn.Linear(3, 2)

    def forward(self, x):
        x = self.encoder["norm"](self.encoder["conv"](x)).tanh()
        return self.lin(self.up(x).amax((2, 3, 4)))


build_torch = Voxels

OBJECTIVE = {
    "torch_loss": nn.MSELoss(),
    "torch_optimizer": lambda p: KerasRMSprop(p, lr=2e-3),
}


def inputs(rng):
    return rng.normal(size=(4, 5, 6, 4, 2)), rng.normal(size=(4, 2))


class Unactivated(Voxels):
    def forward(self, x):
        x = self.encoder["norm"](self.encoder["conv"](x))
        return self.lin(self.up(x).amax((2, 3, 4)))


def stock_norm(module):
    stock = nn.BatchNorm3d(4, eps=1e-3, momentum=1.0 - 0.95).double()
    stock.load_state_dict(module.encoder["norm"].state_dict(), strict=False)
    stock.bias = None
    module.encoder["norm"] = stock


def shifted(module):
    module.encoder["norm"].bias = nn.Parameter(torch.zeros(4, dtype=torch.float64))


BUGS = [
    Bug("missing activation", "between norm and deconv", 4, build=Unactivated),
    Bug("unbiased variance", "norm", 8, spoil=stock_norm),
    Bug("a norm with a shift too many", "norm", 1, spoil=shifted),
    Bug(
        "Torch's RMSprop",
        "optimizer",
        7,
        objective={"torch_optimizer": lambda p: torch.optim.RMSprop(p, lr=2e-3, alpha=0.9)},
    ),
    Bug(
        "Torch's epsilon in Keras' place",
        "optimizer",
        7,
        objective={"torch_optimizer": lambda p: KerasRMSprop(p, lr=2e-3, eps=1e-8)},
    ),
]
