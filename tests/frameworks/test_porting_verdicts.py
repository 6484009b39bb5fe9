"""Three verdicts: identical to rounding; the same, but for what is accepted; different."""

import keras
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import compare
from compare.errors import InputError
from compare.parity.ladder import ANOTHER_FORM

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(16, 5)), RNG.normal(size=(16, 1))
IMAGES = RNG.normal(size=(4, 6, 6, 3))


def keras_model(optimizer=None, **dense):
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(8, activation="relu", name="hidden", **dense),
            keras.layers.Dense(1, name="head"),
        ]
    )
    model.compile(optimizer or keras.optimizers.Adam(0.01), "mse")
    return model


def checked(optimizer, build=keras_model, loss=F.mse_loss, **options):
    return compare.check_parity(
        build,
        lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)),
        X,
        Y,
        weights_from="keras",
        torch_loss=loss,
        torch_optimizer=optimizer,
        **options,
    )


def adam(parameters, lr=0.01, eps=1e-7):
    return torch.optim.Adam(parameters, lr=lr, eps=eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adam_as_everybody_writes_it_is_the_same_but_for_its_epsilon(dtype):
    report = checked(adam, dtype=dtype, steps=3)
    assert report.passed
    assert report.result == "same"
    names = [difference.convention for difference in report.accepted]
    assert names[0] == "adam-epsilon"
    epsilon = report.accepted[0]
    assert epsilon.reason == "Torch has no argument for where epsilon is added"
    assert 0.0 < epsilon.after_one < 1e-2
    assert 0.0 < epsilon.after_all < 1e-2
    assert "but for adam-epsilon" in report.verdict()[0]
    assert report.to_json()["accepted"][0]["steps"] == 3


def test_strict_accepts_only_what_is_allowed():
    assert not checked(adam, strict=True).passed
    assert checked(adam, strict=True, allow=["adam-epsilon", "adam-beta-float32"]).passed
    exact = checked(adam, strict=True, allow=["adam-epsilon"])
    assert exact.first_divergence.explained_by == ("adam-beta-float32",)


def test_what_agrees_to_rounding_is_identical():
    def build():
        return keras_model(keras.optimizers.SGD(0.01))

    report = checked(lambda p: torch.optim.SGD(p, lr=0.01), build, strict=True)
    assert (report.result, report.accepted) == ("identical", ())


def test_the_cause_is_what_no_one_accepts():
    report = checked(lambda p: adam(p, lr=0.02))
    assert report.result == "different"
    first = report.first_divergence
    assert (first.rung, first.layer, first.explained_by) == (7, "optimizer", ())
    assert first.settings == ("learning rate: 0.01 in Keras, 0.02 in Torch",)
    assert not report.accepted


def test_what_can_be_predicted_can_be_allowed():
    def coupled(parameters):
        return torch.optim.Adam(parameters, lr=0.01, eps=1e-7, weight_decay=0.1)

    def build():
        return keras_model(keras.optimizers.Adam(0.01, weight_decay=0.1))

    assert checked(coupled, build).first_divergence.explained_by[0] == "weight-decay"
    report = checked(coupled, build, allow=["weight-decay"])
    assert report.passed
    accepted = {difference.convention: difference for difference in report.accepted}
    assert accepted["weight-decay"].reason == "you allow it"


def test_what_cannot_be_predicted_cannot_be_allowed():
    with pytest.raises(InputError, match="cannot be predicted"):
        checked(adam, allow=["flatten-order"])


def test_a_factor_that_keras_rounds_to_float32_is_accepted_with_its_place():
    def build():
        decay = keras.regularizers.L2(0.01)
        return keras_model(keras.optimizers.SGD(0.01), kernel_regularizer=decay)

    def penalized(factor):
        def loss(output, target):
            return F.mse_loss(output, target) + factor * (module[0].weight ** 2).sum()

        module = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1))
        return compare.check_parity(
            build,
            lambda: module.double(),
            X,
            Y,
            weights_from="keras",
            torch_loss=loss,
            torch_optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
        )

    report = penalized(0.01)
    assert report.result == "same", report.verdict()
    (inside,) = report.accepted
    assert inside.convention == "float32-inside"
    assert "step/1/loss" in inside.what
    assert penalized(float(np.float32(0.01))).result == "identical"
    wrong = penalized(0.0101)
    assert (wrong.result, wrong.first_divergence.rung) == ("different", 5)


class ChannelsLastNorm(nn.LayerNorm):
    """A norm that moves the channels by itself."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Image(nn.Module):
    def __init__(self, eps=1e-3):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), ChannelsLastNorm(6, eps=eps)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


def image_model():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Conv2D(6, 3, name="conv"),
            keras.layers.LayerNormalization(name="norm"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, name="head"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


@pytest.mark.parametrize(("eps", "expected"), [(1e-3, None), (1e-5, ("norm-epsilon",))])
def test_a_norm_that_permutes_inside_is_judged_by_its_numbers(eps, expected):
    report = compare.check_parity(
        image_model,
        lambda: Image(eps),
        IMAGES,
        RNG.normal(size=(4, 2)),
        weights_from="keras",
        torch_loss=F.mse_loss,
        torch_optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
    )
    assert report.passed == (expected is None), report.verdict()
    if expected:
        assert (report.first_divergence.layer, report.first_divergence.explained_by) == (
            "norm",
            expected,
        )
    assert not [note for note in report.notes if note.endswith(ANOTHER_FORM)]


def test_threads_of_torch_are_put_back():
    before = torch.get_num_threads()
    seen = []

    def loss(output, target):
        seen.append(torch.get_num_threads())
        return F.mse_loss(output, target)

    checked(adam, loss=loss, threads=2)
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


class Lion(torch.optim.Optimizer):
    """As its paper has it; Torch has none."""

    def __init__(self, parameters, lr, betas=(0.9, 0.99)):
        super().__init__(parameters, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                mean = self.state[p].setdefault("m", torch.zeros_like(p))
                p.sub_(group["lr"] * (first * mean + (1.0 - first) * p.grad).sign())
                mean.mul_(second).add_(p.grad, alpha=1.0 - second)


@pytest.mark.parametrize(("betas", "passes"), [((0.9, 0.99), True), ((0.1, 0.5), False)])
def test_what_an_optimizer_of_ones_own_keeps_may_have_any_name(betas, passes):
    """Its weights tell: those of later steps follow from what it keeps."""

    def build():
        model = keras_model()
        model.compile(keras.optimizers.Lion(0.1), "mse")
        return model

    report = checked(lambda p: Lion(p, lr=0.1, betas=betas), build, steps=6)
    assert report.passed is passes
    assert any("user's own" in note for note in report.notes)
    if not passes:
        assert (report.first_divergence.rung, report.first_divergence.step > 1) == (7, True)
