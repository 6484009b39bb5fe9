"""An image and a row of a table: two inputs, by name."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

from pairs import Bug
from pairs.optimizers import KerasAdam, KerasAdamW


def build_keras():
    row = keras.Input((5,), name="row")
    image = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, 3, activation="relu", name="features")(image)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    t = layers.Dense(6, activation="tanh", name="tabular")(row)
    x = layers.Concatenate()([x, t])
    x = layers.Dense(8, activation="relu", name="joint")(x)
    model = keras.Model({"image": image, "row": row}, layers.Dense(1, name="head")(x))
    betas = {"beta_1": np.float64(0.9), "beta_2": np.float64(0.999)}
    adamw = keras.optimizers.AdamW(5e-3, weight_decay=np.float64(0.02), **betas)
    model.compile(adamw, keras.losses.BinaryCrossentropy(from_logits=True))
    return model


class TwoBranches(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Sequential(nn.Linear(5, 6), nn.Tanh())
        self.conv = nn.Conv2d(2, 4, 3)
        self.pool = nn.MaxPool2d(2)
        self.fuse = nn.Linear(22, 8)
        self.score = nn.Linear(8, 1)

    def branches(self, image, row):
        image = self.pool(self.conv(image).relu_())
        return image.permute(0, 2, 3, 1).flatten(1), self.table(row)

    def forward(self, row, image):
        joined = torch.cat(self.branches(image, row), dim=1)
        return self.score(self.fuse(joined).relu())


build_torch = TwoBranches

OBJECTIVE = {
    "torch_loss": nn.BCEWithLogitsLoss(),
    "torch_optimizer": lambda p: KerasAdamW(p, lr=5e-3, weight_decay=0.02),
}


def inputs(rng):
    x = {"image": rng.normal(size=(6, 6, 6, 2)), "row": rng.normal(size=(6, 5))}
    return x, rng.integers(0, 2, (6, 1)).astype(float)


class Swapped(TwoBranches):
    def branches(self, image, row):
        return super().branches(image, row)[::-1]


class ChannelsFirst(TwoBranches):
    def branches(self, image, row):
        return self.pool(self.conv(image).relu()).flatten(1), self.table(row)


class SquashedTwice(TwoBranches):
    """The input is squashed as well as what the layer makes of it."""

    def branches(self, image, row):
        return super().branches(image, row.tanh())


BUGS = [
    Bug("inputs joined the wrong way round", "between tabular and joint", 4, build=Swapped),
    Bug("flatten order", "between tabular and joint", 4, build=ChannelsFirst),
    Bug("squashed input", "between features and tabular", 4, build=SquashedTwice),
    Bug(
        "missing activation",
        "between tabular and joint",
        4,
        spoil=lambda m: m.table.__setitem__(1, nn.Identity()),
    ),
    Bug(
        "weight decay through the gradient",
        "optimizer",
        7,
        objective={"torch_optimizer": lambda p: KerasAdam(p, lr=5e-3, weight_decay=0.02)},
    ),
    Bug(
        "Torch's AdamW",
        "optimizer",
        7,
        objective={"torch_optimizer": lambda p: torch.optim.AdamW(p, lr=5e-3, weight_decay=0.02)},
    ),
]
