"""Layers of a user's own on images: Torch holds their channels on axis 1."""

import keras
import numpy as np
import pytest
import torch
from made_up_trace import read
from torch import nn
from torch.nn import functional as F

import compare
from compare.backends.keras import adapter as keras_adapter
from compare.backends.torch.rules import RULES
from compare.parity.layouts import channels_last

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 3, 3, 3), (2, 5, 3)])
def test_channels_of_a_layer_of_ones_own_are_read_last(tmp_path, shape):
    image = RNG.normal(size=shape)
    assert np.array_equal(
        read(channels_last, tmp_path, "Mine", image, np.moveaxis(image, -1, 1)), image
    )


def test_what_differs_and_what_is_recorded_so_stay(tmp_path):
    image, other = RNG.normal(size=(2, 2, 3, 3, 3))
    assert np.array_equal(read(channels_last, tmp_path / "a", "Mine", image, other), other)
    first = np.moveaxis(image, -1, 1)
    assert np.array_equal(read(channels_last, tmp_path / "b", "dense", image, first), first)


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
