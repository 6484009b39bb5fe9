"""Layers of a user's own on images: Torch holds their channels on axis 1."""

import keras
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import compare
from compare.backends.keras import adapter as keras_adapter
from compare.backends.torch.rules import RULES

RNG = np.random.default_rng(0)


class KerasScale(keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="scale")

    def call(self, x):
        return x * self.scale


class TorchScale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.scale, self.factor = nn.Parameter(torch.ones(3)), factor

    def forward(self, x):
        return self.factor * x * self.scale[:, None, None]


@pytest.fixture
def scale_rule():
    compare.weight_rule(KerasScale, TorchScale)(lambda: {"scale": "scale"})
    yield
    keras_adapter.forget_rule(KerasScale)
    del RULES[TorchScale]


@pytest.mark.usefixtures("scale_rule")
@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_a_right_port_of_it_passes_and_a_wrong_one_is_blamed_there(factor):
    layers = [keras.layers.Conv2D(3, 3, name="conv"), KerasScale(name="scale")]
    model = keras.Sequential([keras.Input((5, 5, 2)), *layers])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    report = compare.check_parity(
        model,
        nn.Sequential(nn.Conv2d(2, 3, 3), TorchScale(factor)).double(),
        RNG.normal(size=(4, 5, 5, 2)),
        RNG.normal(size=(4, 3, 3, 3)),
        torch_loss=F.mse_loss,
        torch_optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        weights_from="keras",
    )
    assert report.passed == (factor == 1.0), str(report)
    if not report.passed:
        first = report.first_divergence
        assert (first.rung, first.layer) == (4, "scale")
