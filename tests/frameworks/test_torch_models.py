import pytest
import torch
from torch import nn

import bn_torch


def layers(model):
    return [type(layer).__name__ for layer in model.children()]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (None, ["Linear", "ReLU", "Linear"]),
        ("after", ["Linear", "ReLU", "BiasedBatchNorm", "Linear"]),
        ("before", ["Linear", "BiasedBatchNorm", "ReLU", "Linear"]),
        ("input", ["BiasedBatchNorm", "Linear", "ReLU", "Linear"]),
    ],
)
def test_mlp_layers(place, expected):
    assert layers(bn_torch.build_mlp(place)) == expected


def test_momentum_is_one_minus_keras():
    norm = bn_torch.build_mlp("after").batch_norm
    assert 1.0 - norm.momentum == 0.99
    assert norm.eps == 1e-3


def test_stock_layer_can_be_asked_for():
    norm = bn_torch.build_mlp("after", affine=False, norm_layer=nn.BatchNorm1d).batch_norm
    assert type(norm) is nn.BatchNorm1d
    assert not norm.affine


@pytest.mark.parametrize("place", [None, "after"])
def test_cnn_layers(place):
    norm = ["BiasedBatchNorm"] if place else []
    expected = ["Conv2d", "ReLU", "Conv2d", "ReLU", *norm]
    assert layers(bn_torch.build_cnn(place)) == [
        *expected,
        "MaxPool2d",
        "FlattenChannelsLast",
        "Linear",
    ]


def test_flatten_puts_channels_last():
    x = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    flat = bn_torch.cnn.FlattenChannelsLast()(x)
    assert torch.equal(flat.reshape(2, 4, 5, 3), x.permute(0, 2, 3, 1))
    assert not torch.equal(flat, nn.Flatten()(x))


def test_lstm_trains_one_bias():
    lstm = bn_torch.build_lstm().lstm
    assert not lstm.bias_hh_l0.requires_grad
    assert not lstm.bias_hh_l0.any()
    assert bn_torch.build_lstm(single_bias=False).lstm.bias_hh_l0.requires_grad


@pytest.mark.parametrize("build", [bn_torch.build_mlp, bn_torch.build_cnn, bn_torch.build_lstm])
def test_unknown_place_is_refused(build):
    with pytest.raises(ValueError, match=r"batch_norm must be None.*'below'"):
        build("below")


def test_frozen_parameters_stay_out_of_the_optimizer():
    module = bn_torch.BinaryClassifier(bn_torch.build_lstm())
    optimizer = module.configure_optimizers()
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert id(module.model.lstm.bias_hh_l0) not in held
    assert (optimizer.defaults["lr"], optimizer.defaults["momentum"]) == (0.01, 0.9)
