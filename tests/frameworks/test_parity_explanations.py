"""Explanations from numbers: each named where its prediction holds, and not for its neighbours."""

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from pairs.optimizers import KerasAdam, KerasAdamW
from torch import nn
from torch.nn import functional as F

import compare

BETAS = {"beta_1": np.float64(0.9), "beta_2": np.float64(0.999)}
DECAY = np.float64(0.01)
X, Y = np.random.default_rng(0).normal(size=(8, 5)), np.random.default_rng(1).normal(size=(8, 2))


def explained(model, module, x=X, y=Y, *, optimizer=None, loss=F.mse_loss):
    report = compare.check_parity(
        model,
        module.double(),
        x,
        y,
        torch_loss=loss,
        torch_optimizer=optimizer or (lambda p: torch.optim.SGD(p, lr=0.01)),
        weights_from="keras",
        # Of what is accepted the cause is found as well.
        strict=True,
    )
    return None if report.passed else report.first_divergence.explained_by


def dense(optimizer=None, loss="mse", **last):
    model = keras.Sequential(
        [keras.Input((5,)), layers.Dense(4, "relu", name="a"), layers.Dense(2, name="b", **last)]
    )
    model.compile(optimizer or keras.optimizers.SGD(0.01), loss)
    return model


def mlp(*last):
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2), *last)


def from_zero(optimizer):
    """A warm-up whose first step moves nothing."""
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, float)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


O, T = keras.optimizers, torch.optim  # noqa: E741


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        (lambda: O.Adam(0.01, **BETAS), lambda p: KerasAdam(p, lr=0.01), None),
        (lambda: O.Adam(0.01, **BETAS), lambda p: T.Adam(p, lr=0.01), ("adam-epsilon",)),
        (lambda: O.Adam(0.01), lambda p: KerasAdam(p, lr=0.01), ("adam-beta-float32",)),
        (
            lambda: O.Adam(0.01),
            lambda p: T.Adam(p, lr=0.01, eps=1e-7),
            ("adam-epsilon", "adam-beta-float32"),
        ),
        (lambda: O.Adam(0.01, **BETAS), lambda p: KerasAdam(p, lr=0.02), ()),
        (
            lambda: O.AdamW(0.01, weight_decay=DECAY, **BETAS),
            lambda p: KerasAdam(p, lr=0.01, weight_decay=0.01),
            ("weight-decay",),
        ),
        (
            lambda: O.AdamW(0.01, weight_decay=np.float64(0.004), **BETAS),
            lambda p: KerasAdamW(p, lr=0.01),
            ("optimizer-defaults",),
        ),
        (
            lambda: O.AdamW(0.01, weight_decay=DECAY, **BETAS),
            lambda p: KerasAdamW(p, lr=0.01, weight_decay=0.02),
            (),
        ),
        (
            lambda: O.RMSprop(0.001, rho=np.float64(0.9)),
            lambda p: T.RMSprop(p),
            ("optimizer-defaults", "rmsprop-epsilon"),
        ),
        (
            lambda: O.RMSprop(0.01, rho=np.float64(0.9)),
            lambda p: T.RMSprop(p, alpha=0.9, eps=1e-7),
            ("rmsprop-epsilon",),
        ),
        (
            lambda: O.SGD(0.1, momentum=0.5, weight_decay=DECAY),
            lambda p: T.SGD(p, lr=0.1, momentum=0.5, weight_decay=0.01),
            ("weight-decay",),
        ),
        (lambda: O.SGD(0.1), lambda p: T.SGD(p), ("sgd-default-learning-rate",)),
        (lambda: O.SGD(0.1), lambda p: T.SGD(p, lr=0.2), ()),
        (
            lambda: O.SGD(0.1, momentum=0.9),
            lambda p: T.SGD(p, lr=0.1, momentum=0.9),
            ("sgd-momentum-float32",),
        ),
        (
            lambda: O.SGD(0.1, momentum=0.5),
            lambda p: T.SGD(p, lr=0.1, momentum=0.25),
            (),
        ),
        (
            lambda: O.SGD(O.schedules.ExponentialDecay(0.1, 10, 0.9)),
            lambda p: T.SGD(p, lr=0.1),
            ("learning-rate-schedule",),
        ),
        (
            lambda: O.SGD(O.schedules.PiecewiseConstantDecay([0], [0.125, 0.0625]), momentum=0.5),
            lambda p: T.SGD(p, lr=0.125, momentum=0.5),
            ("learning-rate-schedule",),
        ),
        (lambda: O.SGD(0.1), lambda p: T.SGD([nn.Parameter(torch.zeros(1))], lr=0.1), ()),
        (lambda: O.SGD(0.1), lambda p: from_zero(T.SGD(p, lr=0.1)), ("learning-rate-schedule",)),
        (
            lambda: O.Adam(0.1, **BETAS),
            lambda p: from_zero(KerasAdam(p, lr=0.1)),
            ("learning-rate-schedule",),
        ),
    ],
)
def test_optimizers(ours, theirs, names):
    assert explained(dense(ours()), mlp(), optimizer=theirs) == names


LABELS = (Y[:, 0] > 0).astype(int)
TWO = np.stack([LABELS, 1 - LABELS], axis=1).astype(float)


@pytest.mark.parametrize(
    ("model", "module", "y", "loss", "names"),
    [
        (dense, mlp, Y, nn.MSELoss(reduction="sum"), ("loss-reduction",)),
        (dense, mlp, Y, lambda a, b: 3 * F.mse_loss(a, b), ()),
        (
            lambda: dense(kernel_regularizer=keras.regularizers.L2(0.125)),
            mlp,
            Y,
            nn.MSELoss(),
            ("regularizers-in-loss",),
        ),
        (
            lambda: dense(kernel_regularizer=keras.regularizers.L1(0.125)),
            mlp,
            Y,
            nn.MSELoss(),
            ("regularizers-in-loss",),
        ),
        (
            lambda: dense(loss="sparse_categorical_crossentropy", activation="softmax"),
            lambda: mlp(nn.Softmax(dim=1)),
            LABELS,
            nn.CrossEntropyLoss(),
            ("cross-entropy-logits",),
        ),
        (
            lambda: dense(loss="binary_crossentropy", activation="sigmoid"),
            lambda: mlp(nn.Sigmoid()),
            TWO,
            nn.BCEWithLogitsLoss(),
            ("cross-entropy-logits",),
        ),
    ],
)
def test_losses(model, module, y, loss, names):
    assert explained(model(), module(), y=y, loss=loss) == names


def test_probabilities_that_saturate():
    model = dense(loss="binary_crossentropy", activation="sigmoid")
    loss = nn.BCELoss()
    assert explained(model, mlp(nn.Sigmoid()), 1e3 * X, TWO, loss=loss) == ("loss-from-logits",)


def between(function):
    """Two dense layers with a function between them."""
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4, name="a"), function])
    model.add(layers.Dense(2, name="b"))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        (lambda: layers.LeakyReLU(0.25), nn.LeakyReLU(0.25), None),
        (lambda: layers.LeakyReLU(0.3), nn.LeakyReLU(0.3), ("float32-constants",)),
        (lambda: layers.LeakyReLU(), nn.LeakyReLU(), ("leaky-relu-slope",)),
        (lambda: layers.LeakyReLU(0.25), nn.LeakyReLU(0.5), ("leaky-relu-slope",)),
        (lambda: layers.LeakyReLU(0.25), nn.ReLU(), ()),
        (lambda: layers.Activation("gelu"), nn.GELU(), ("float32-constants",)),
        (lambda: layers.Activation("gelu"), nn.GELU("tanh"), ()),
        (lambda: layers.ReLU(), nn.Identity(), ()),
    ],
)
def test_what_lies_between_layers(ours, theirs, names):
    module = nn.Sequential(nn.Linear(5, 4), theirs, nn.Linear(4, 2))
    assert explained(between(ours()), module) == names


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def test_an_attention_whose_scale_is_rounded():
    x = keras.Input((4, 6))
    attended = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    model = keras.Model(x, layers.Dense(2, name="head")(ops.mean(attended, axis=1)))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    samples = 3 * np.random.default_rng(0).normal(size=(8, 4, 6))
    assert explained(model, Attention(), samples) == ("float32-constants",)


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(5, 3)
        self.rnn = nn.RNN(3, 4, batch_first=True)
        self.rnn.bias_hh_l0.requires_grad_(False).zero_()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.rnn(self.tokens(x))[1][0])


def reader(optimizer, *, mask_zero=False):
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            layers.Embedding(5, 3, mask_zero=mask_zero, name="tokens"),
            layers.SimpleRNN(4, name="rnn"),
            layers.Dense(2, name="head"),
        ]
    )
    model.compile(optimizer, "mse")
    return model


TOKENS = np.array([[1, 2, 3, 1], [2, 1, 1, 0], [3, 4, 0, 0], [4, 0, 0, 0]] * 2)


def test_a_mask_that_torch_does_not_know():
    model = reader(keras.optimizers.SGD(0.01), mask_zero=True)
    assert explained(model, Reader(), TOKENS) == ("mask-zero",)


def test_tokens_that_occur_twice():
    model = reader(keras.optimizers.Adam(0.01, **BETAS))
    adam = lambda p: KerasAdam([q for q in p if q.requires_grad], lr=0.01)  # noqa: E731
    assert explained(model, Reader(), TOKENS, optimizer=adam) == ("sparse-gradients",)


@pytest.mark.parametrize(("groups", "size"), [(1, 6), (2, 6), (4, 8)])
def test_a_strided_padding(groups, size):
    conv = layers.Conv1D(8, 3, strides=2, padding="same", groups=groups, name="conv")
    if groups == 4:
        conv = layers.DepthwiseConv1D(3, strides=2, padding="same", depth_multiplier=2, name="conv")
    model = keras.Sequential([keras.Input((size, 4)), conv, layers.GlobalAveragePooling1D()])
    model.add(layers.Dense(2, name="head"))
    model.compile(keras.optimizers.SGD(0.01), "mse")

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(4, 8, 3, stride=2, padding=1, groups=groups)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.conv(x).mean(-1))

    x = np.random.default_rng(0).normal(size=(8, size, 4))
    assert explained(model, Module(), x) == ("same-padding-stride",)


@pytest.mark.parametrize("name", ["bn-biased-variance", "bn-momentum"])
def test_a_single_value_per_channel_has_no_variance_to_predict(name):
    norm = layers.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((5,)), layers.Dense(2, name="a"), norm])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    report = compare.check_parity(
        model,
        nn.Sequential(nn.Linear(5, 2), nn.BatchNorm1d(2, eps=1e-3, momentum=0.01)).double(),
        X[:1],
        Y[:1],
        torch_loss=F.mse_loss,
        torch_optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
        weights_from="keras",
        allow=[name],
    )
    assert "Expected more than 1 value per channel" in report.error
