"""Tolerances grow as rounding does: right pairs of any depth and size pass, small bugs do not."""

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn
from torch.nn import functional as F

import compare
from bn_torch import BiasedBatchNorm

pytestmark = pytest.mark.slow

WIDTH = 16
SMALLEST = {"float64": 1.001e-3, "float32": 1e-5}
"""An epsilon of the last norm that must still be told from Keras' 1e-3, at every size."""

SIZES = [(8, 8, 0), (8, 16, 2), (2, 16, 29), (16, 64, 3), (2, 224, 1)]
"""Images, pixels along a side, and residual blocks of two convolutions each."""


def keras_model(side, blocks):
    def normed(x):
        x = layers.Conv2D(WIDTH, 3, padding="same")(x)
        return layers.BatchNormalization()(x)

    image = keras.Input((side, side, 3))
    x = layers.ReLU()(normed(image))
    for _ in range(blocks):
        within = layers.ReLU()(normed(x))
        x = layers.ReLU()(layers.Add()([normed(within), x]))
    x = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    return model


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(2))
        self.inner, self.outer = (BiasedBatchNorm(WIDTH, eps=1e-3, momentum=0.01) for _ in range(2))

    def forward(self, x):
        within = F.relu(self.inner(self.first(x)))
        return F.relu(self.outer(self.second(within)) + x)


class Residual(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.norm = BiasedBatchNorm(WIDTH, eps=1e-3, momentum=0.01)
        self.blocks = nn.Sequential(*(Block() for _ in range(blocks)))
        self.head = nn.Linear(WIDTH, 10)

    def last_norm(self):
        return self.blocks[-1].outer if len(self.blocks) else self.norm

    def forward(self, x):
        x = self.blocks(F.relu(self.norm(self.conv(x))))
        return self.head(x.mean((2, 3)))


def checked(size, dtype, epsilon=1e-3):
    images, side, blocks = size
    rng = np.random.default_rng(0)

    def module():
        residual = Residual(blocks)
        residual.last_norm().eps = epsilon
        return residual

    return compare.check_parity(
        lambda: keras_model(side, blocks),
        module,
        rng.normal(size=(images, side, side, 3)),
        rng.integers(0, 10, images),
        dtype=dtype,
        steps=1,
        weights_from="keras",
        torch_loss=F.cross_entropy,
        torch_optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
    )


@pytest.mark.parametrize("dtype", SMALLEST)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_right_pair_of_any_size_passes_and_the_smallest_bug_does_not(size, dtype):
    keras.utils.set_random_seed(0)
    report = checked(size, dtype)
    assert report.passed, report.verdict()
    wrong = checked(size, dtype, SMALLEST[dtype])
    assert wrong.first_divergence.rung == 4, wrong.verdict()
    assert wrong.first_divergence.layer.startswith("batch_norm"), wrong.verdict()
    assert wrong.first_divergence.explained_by == ("bn-epsilon",)
