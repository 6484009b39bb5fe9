"""What settings tell: each rule where it must speak, and where a remedy is in place."""

import keras
import numpy as np
import pairs
import pytest
import torch

import compare
from compare.porting.inspect import inspect_layers, inspect_training
from compare.porting.matching import Partners

PAIRS = pairs.discover()
STRIDED = {"strides": [2, 2], "dilation": [1, 1], "padding": "same", "groups": 1}
PADDED = {**STRIDED, "padding": [1, 1]}
UP = {"strides": [2], "dilation": [1], "padding": "same", "output_padding": None}
NORM = {"epsilon": 1e-3, "decay": 0.99, "biased": True, "frozen": False}
ONE_BIAS = {"trained_biases": 1}


def layer(kind, settings, kernel=()):
    tensors = {"kernel": list(kernel)} if kernel else {}
    return {"name": "layer", "kind": kind, "tensors": tensors, "settings": settings}


def told(kind, keras, torch, kernel=(), size=None):
    pair = Partners(layer(kind, keras, kernel), layer(kind, torch, kernel), "name")
    sizes = {} if size is None else {"layer": size}
    return [(found.setting, found.convention) for found in inspect_layers([pair], sizes)]


@pytest.mark.parametrize(
    ("kind", "keras", "torch", "expected"),
    [
        ("batch_norm", NORM, {**NORM, "epsilon": 1e-5}, ("epsilon", "bn-epsilon")),
        ("batch_norm", NORM, {**NORM, "decay": 0.9}, ("decay", "bn-momentum")),
        ("batch_norm", NORM, {**NORM, "decay": 0.01}, ("decay", "bn-momentum-copied")),
        ("batch_norm", NORM, {**NORM, "decay": None}, ("decay", None)),
        ("batch_norm", NORM, {**NORM, "biased": False}, ("biased", "bn-biased-variance")),
        ("batch_norm", {**NORM, "frozen": True}, NORM, ("frozen", "bn-frozen")),
        ("layer_norm", {"epsilon": 1e-3}, {"epsilon": 1e-5}, ("epsilon", "norm-epsilon")),
        ("group_norm", {"epsilon": 1e-3}, {"epsilon": 1e-5}, ("epsilon", "norm-epsilon")),
        ("group_norm", {"groups": 2}, {"groups": 4}, ("groups", None)),
        (
            "lstm",
            {"trained_biases": 1},
            {"trained_biases": 2},
            ("trained_biases", "lstm-single-bias"),
        ),
        ("gru", {"trained_biases": 2}, {"trained_biases": 1}, ("trained_biases", None)),
        ("simple_rnn", {"activation": "tanh"}, {"activation": "relu"}, ("activation", None)),
        ("embedding", {"mask_zero": False}, {"padding_idx": 0}, ("padding_idx", "padding-idx")),
    ],
)
def test_a_setting_is_told(kind, keras, torch, expected):
    assert told(kind, keras, torch) == [expected]


@pytest.mark.parametrize(
    ("kind", "keras", "torch"),
    [
        ("batch_norm", NORM, {**NORM, "decay": 1.0 - (1.0 - 0.99)}),
        ("batch_norm", NORM, {"epsilon": 1e-3, "decay": 0.99, "frozen": False}),
        ("embedding", {"mask_zero": True}, {"padding_idx": 0}),
        ("embedding", {"mask_zero": False}, {"padding_idx": None}),
        ("lstm", ONE_BIAS, {}),
    ],
)
def test_a_remedy_is_not_told(kind, keras, torch):
    assert told(kind, keras, torch) == []


@pytest.mark.parametrize(
    ("kernel", "size", "wrong"),
    [
        ((3, 3), (6, 6), True),  # TensorFlow pads an even side by (0, 1), an odd one by (1, 1).
        ((3, 3), (7, 7), False),
        ((3, 3), (7, 6), True),
        ((3, 3), None, False),
        ((4, 4), None, False),
        ((5, 5), (7, 7), True),
        ((7, 7), None, True),
    ],
)
def test_a_strided_padding_depends_on_the_size(kernel, size, wrong):
    found = told("conv", STRIDED, PADDED, (*kernel, 1, 1), size)
    assert found == ([("padding", "same-padding-stride")] if wrong else [])


def test_what_is_padded_before_the_layer_is_not_told():
    assert told("conv", STRIDED, {**STRIDED, "padding": "valid"}, (3, 3, 1, 1), (6, 6)) == []
    causal = {**STRIDED, "padding": "causal"}
    assert told("conv", causal, {**causal, "padding": "valid"}, (3, 1, 1)) == []


def test_a_padding_of_a_stride_of_one():
    plain = {**STRIDED, "strides": [1, 1]}
    for padding, expected in (([1, 1], []), ([2, 2], [("padding", None)])):
        assert told("conv", plain, {**plain, "padding": padding}, (3, 3, 1, 1)) == expected


@pytest.mark.parametrize(
    ("kernel", "padding", "wrong"),
    [(3, [1], True), (3, "valid", False), (4, [1], False), (4, [2], True), (5, [1], False)],
)
def test_a_transposed_padding(kernel, padding, wrong):
    found = told(
        "conv_transpose", UP, {**UP, "padding": padding, "output_padding": [0]}, (kernel, 1, 1)
    )
    assert found == ([("padding", "transposed-padding")] if wrong else [])


ADAM = {"kind": "adam", "learning_rate": 1e-3, "epsilon": 1e-7, "weight_decay": 0.0}
SGD = {"kind": "sgd", "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.0}
RMSPROP = {"kind": "rmsprop", "learning_rate": 1e-3, "rho": 0.9, "epsilon": 1e-7}
ADAMW = {**ADAM, "kind": "adamw", "weight_decay": 0.004}


@pytest.mark.parametrize(
    ("keras", "torch", "expected"),
    [
        (ADAM, {**ADAM, "epsilon": 1e-8}, [("epsilon", "adam-epsilon")]),
        (ADAM, {**ADAM, "epsilon": 1e-8, "class": "KerasAdam"}, []),
        ({**ADAMW, "kind": "denseadamw"}, {**ADAMW, "class": "KerasAdamW"}, []),
        (ADAMW, {**ADAMW, "kind": "adam"}, [("kind", "weight-decay")]),
        (ADAMW, {**ADAMW, "kind": "adam", "class": "KerasAdam"}, []),
        ({**ADAMW, "kind": "adam"}, ADAMW, []),
        (ADAMW, {**ADAMW, "weight_decay": 0.01}, [("weight_decay", "optimizer-defaults")]),
        (ADAMW, {**ADAMW, "weight_decay": 0.0}, [("weight_decay", None)]),
        (ADAM, {**SGD, "learning_rate": 1e-3}, [("kind", None)]),
        ({**ADAM, "kind": "mine"}, ADAM, []),
        (RMSPROP, {**RMSPROP, "rho": 0.99}, [("rho", "rmsprop-epsilon")]),
        (RMSPROP, {**RMSPROP, "learning_rate": 0.01}, [("learning_rate", "optimizer-defaults")]),
        (RMSPROP, {**RMSPROP, "epsilon": 1e-8, "class": "KerasRMSprop"}, []),
        (SGD, {**SGD, "learning_rate": 1e-3}, [("learning_rate", "sgd-default-learning-rate")]),
        (SGD, {**SGD, "learning_rate": 0.02}, [("learning_rate", None)]),
        (SGD, {**SGD, "momentum": 0.0}, [("momentum", None)]),
        (SGD, {**SGD, "learning_rate": {"schedule": "LambdaLR"}}, []),
        (
            {**SGD, "learning_rate": {"schedule": "ExponentialDecay"}},
            SGD,
            [("learning_rate", "learning-rate-schedule")],
        ),
        (
            {**SGD, "weight_decay": 0.1},
            {**SGD, "weight_decay": 0.2},
            [("weight_decay", "weight-decay")],
        ),
    ],
)
def test_optimizers(keras, torch, expected):
    found = inspect_training({"optimizer": keras}, {"optimizer": torch})
    assert [(f.setting, f.convention) for f in found] == expected


def test_losses():
    mean = {"name": "mse", "from_logits": None, "reduction": "sum_over_batch_size"}
    torch = {"name": "MSELoss", "from_logits": True, "reduction": "mean"}
    assert inspect_training({"loss": mean}, {"loss": torch}) == []
    [found] = inspect_training({"loss": mean}, {"loss": {**torch, "reduction": "sum"}})
    assert found.convention == "loss-reduction"


@pytest.mark.parametrize("name", PAIRS)
def test_a_right_port_has_nothing_to_tell(name):
    pair = PAIRS[name]
    module = pair.build_torch().double()
    options = {"to_torch": pair.to_torch} if hasattr(pair, "to_torch") else {}
    found = compare.inspect_pair(
        pair.build_keras(),
        module,
        pair.inputs(np.random.default_rng(2))[0],
        pairs=getattr(pair, "PAIRS", None),
        **getattr(pair, "OBJECTIVE", {}),
        **options,
    )
    assert [str(f) for f in found.findings if f.convention] == []


@pytest.mark.parametrize("kind", ["conv", "depthwise_conv", "conv_transpose"])
@pytest.mark.parametrize("stride", [1, 2])
def test_no_geometry_of_a_series_and_an_image(kind, stride):
    def side(axes, padding):
        each = {"strides": [stride] * axes, "dilation": [1] * axes, "padding": padding}
        settings = each if kind != "conv_transpose" else {**each, "output_padding": [0] * axes}
        return layer(kind, settings, (3,) * axes + (1, 1))

    for ours, theirs in ((1, 2), (2, 1)):
        pair = Partners(side(ours, "same"), side(theirs, [1] * theirs), "order")
        assert inspect_layers([pair], {"layer": (6,) * ours}) == []


def test_a_loss_counts_without_an_optimizer():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    summed = torch.nn.MSELoss(reduction="sum")
    found = compare.inspect_pair(model, torch.nn.Linear(2, 1).double(), torch_loss=summed)
    assert [f.convention for f in found.findings] == ["loss-reduction"]
