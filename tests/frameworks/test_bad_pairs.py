"""What cannot be compared is refused with one clear message, without a framework's traceback."""

import itertools
import traceback

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from keras import layers
from torch import nn

import compare

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4))


def dense(*widths, **options):
    return keras.Sequential(
        [keras.Input((4,)), *(layers.Dense(width) for width in widths)], **options
    )


def linear(*widths):
    sizes = itertools.pairwise(widths)
    return nn.Sequential(*(nn.Linear(one, other) for one, other in sizes)).double()


def unbuilt():
    return keras.Sequential([layers.Dense(2)])


class Lazy(nn.Sequential):
    def __init__(self):
        super().__init__(nn.LazyLinear(2))


def named():
    left, right = keras.Input((2,), name="left"), keras.Input((2,), name="right")
    x = layers.Dense(2)(layers.Concatenate()([left, right]))
    return keras.Model({"left": left, "right": right}, x)


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2, dtype=torch.float64)

    def forward(self, left, right):
        return self.linear(torch.cat([left, right], 1))


class Shuffled(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2, dtype=torch.float64)

    def forward(self, x):
        return self.linear(x[torch.randperm(len(x))] if self.training else x)


class Truncated(layers.Layer):
    def call(self, x):
        return x + keras.random.truncated_normal(keras.ops.shape(x), dtype=x.dtype)


class NoiseInCall(layers.Layer):
    def call(self, x):
        return x + tf.random.normal(tf.shape(x), dtype=x.dtype)


def with_layer(layer):
    return keras.Sequential([keras.Input((4,)), layers.Dense(2), layer])


def float32():
    return keras.Sequential([keras.Input((4,), dtype="float32"), layers.Dense(2, dtype="float32")])


HALVES = {"left": X[:, :2], "right": X[:, 2:]}
OTHER_KEYS = {"left": X[:, :2], "rigth": X[:, 2:]}

BAD = {
    "different depth": (
        lambda: dense(3, 2),
        lambda: linear(4, 3, 3, 2),
        X,
        r"left uncopied: 1 \(dense kernel \(3, 3\), bias \(3,\)\) in Torch has no partner in Keras",
    ),
    "other widths": (
        lambda: dense(3, 2),
        lambda: linear(4, 5, 2),
        X,
        r"dense\S* has kernel \(4, 3\), bias \(3,\) in Keras, its partner 0 kernel \(4, 5\)",
    ),
    "unbuilt in Keras": (
        unbuilt,
        lambda: linear(4, 2),
        X,
        r"has no weights yet: build it, by model\.build",
    ),
    "unbuilt in Torch": (lambda: dense(2), Lazy, X, r"[Ll]azy|not built|uninitialized"),
    "samples of another shape": (
        lambda: dense(2),
        lambda: linear(4, 2),
        X[:, :3],
        r"expected axis -1 of input shape to have value 4",
    ),
    "a dict with other keys": (
        named,
        Named,
        OTHER_KEYS,
        r"expects the inputs 'left' and 'right', received 'left' and 'rigth'",
    ),
    "an array instead of a dict": (named, Named, X, r"expects 2 inputs \('left' and 'right'\)"),
    "as many samples": (
        named,
        Named,
        {"left": X[:, :2], "right": X[:3, 2:]},
        r"x: expected as many samples in every array, received x/left 6, x/right 3",
    ),
    "samples that are no numbers": (
        lambda: dense(2),
        lambda: linear(4, 2),
        np.array([["a"] * 4]),
        r"x: expected an array of numbers",
    ),
    "a non-finite sample": (
        named,
        Named,
        {**HALVES, "right": np.full((6, 2), np.inf)},
        r"x/right: expected finite numbers, received NaN or infinity",
    ),
    "no samples": (lambda: dense(2), lambda: linear(4, 2), X[:0], r"expected at least one sample"),
    "two dtypes": (
        lambda: dense(2),
        lambda: linear(4, 2).float(),
        X,
        r"the Torch module computes in float32, expected float64: build both in one dtype",
    ),
    "another dtype in Keras": (
        float32,
        lambda: linear(4, 2),
        X,
        r"the Torch module computes in float64, expected float32: build both in one dtype",
    ),
    "half precision": (
        lambda: dense(2),
        lambda: linear(4, 2).half(),
        X,
        r"the module computes in float16, expected float32 or float64: use module",
    ),
    "a permutation in Torch": (
        lambda: dense(2),
        Shuffled,
        X,
        r"the Torch side draws random numbers that cannot be shared .* \(torch\.randperm\)",
    ),
    "augmentation in Keras": (
        lambda: with_layer(Truncated(name="cut")),
        lambda: linear(4, 2),
        X,
        r"the Keras side draws random numbers that cannot be shared .*: cut "
        r"\(keras\.random\.truncated_normal\)\. Leave that out for the check",
    ),
    "random numbers in a call": (
        lambda: with_layer(NoiseInCall()),
        lambda: linear(4, 2),
        X,
        r"the Keras side computes something else each time",
    ),
    "models the wrong way round": (
        lambda: linear(4, 2),
        lambda: dense(2),
        X,
        r"expected a keras\.Model or a function that returns one, received Sequential",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_it_is_one_clear_message(name):
    keras_model, torch_module, x, message = BAD[name]
    models = keras_model(), torch_module()
    with pytest.raises(compare.InputError, match=message) as raised:
        compare.check_parity(*models, x, weights_from="keras")
    told = str(raised.value)
    assert "\n" not in told
    shown = "".join(traceback.format_exception(raised.value))
    assert shown.count("Traceback (most recent call last)") == 1
    assert "site-packages" not in shown


def test_the_same_without_weights_to_carry_is_a_report_that_names_the_structure():
    report = compare.check_parity(dense(3, 2), linear(4, 3, 3, 2), X)
    assert (report.first_divergence.rung, report.first_divergence.layer) == (1, "1")
    assert "no partner in Keras" in str(report)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allow": "bn-epsilon"}, r"allow: expected a list, .*received a string"),
        ({"pairs": [("dense", "0")]}, "pairs: expected a dict"),
        ({"tolerances": 1e-3}, "tolerances: expected a dict"),
        ({"tolerances": {"dense": np.nan}}, "tolerances: expected a number of at least 0 for"),
        ({"steps": True}, "steps: expected a whole number"),
        ({"weights_from": "karas"}, "Did you mean 'keras'"),
    ],
)
def test_options_of_another_kind_are_refused(options, message):
    with pytest.raises(compare.InputError, match=message):
        compare.check_parity(dense(2), linear(4, 2), X, **options)


def test_half_precision_beside_whole_weights_is_refused():
    mixed = layers.Dense(2, dtype="mixed_float16", name="half")
    model = keras.Sequential([keras.Input((4,)), mixed])
    with pytest.raises(compare.InputError, match=r"half computes in float16 \(dtype policy mixed"):
        compare.check_parity(model, linear(4, 2), X)


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(2, 3, batch_first=True, dtype=torch.float64)
        self.rnn.bias_hh_l0.requires_grad_(False).zero_()
        self.register_buffer("h", torch.zeros(1, 4, 3, dtype=torch.float64))
        self.register_buffer("c", torch.zeros(1, 4, 3, dtype=torch.float64))

    def forward(self, x):
        _, (self.h, self.c) = self.rnn(x, (self.h, self.c))
        return self.h[0].detach() * 1.5


def test_what_keeps_a_state_is_not_random():
    model = keras.Sequential(
        [keras.Input((3, 2), batch_size=4), layers.LSTM(3, stateful=True, name="rnn")]
    )
    x = RNG.normal(size=(4, 3, 2))
    report = compare.check_parity(model, Remembering(), x, weights_from="keras")
    assert not report.passed
    assert report.first_divergence.rung == 4  # It is wrong by a factor, and that is found.
