"""Steps of real pairs, attributed to the choices of their optimizers."""

import keras
import numpy as np
import pytest
import torch
from pairs.attributed import (
    EXACT,
    STEPS,
    Net,
    adam,
    attributed,
    clip_all,
    clip_each,
    clip_values,
    names,
    scheduled,
    sgd,
    traces,
)
from torch import nn

from compare.parity.explain.steps import attribute

K, O, T = keras.layers, keras.optimizers, torch.optim  # noqa: E741


RIGHT = [
    (lambda: O.SGD(0.1), sgd, {}),
    (lambda: O.SGD(0.1, momentum=0.9), lambda p: sgd(p, momentum=0.9), {"sgd-momentum-float32"}),
    (
        lambda: O.SGD(0.1, momentum=0.9, nesterov=True),
        lambda p: sgd(p, momentum=0.9, nesterov=True),
        {"sgd-momentum-float32"},
    ),
    (lambda: O.Adam(0.01), adam, {"adam-epsilon", "adam-beta-float32"}),
    (lambda: O.Adam(0.01, **EXACT), adam, {"adam-epsilon"}),
    (
        lambda: O.Adam(0.01, amsgrad=True),
        lambda p: adam(p, amsgrad=True),
        {"adam-epsilon", "adam-beta-float32"},
    ),
    (
        lambda: O.AdamW(0.01, weight_decay=0.1),
        lambda p: T.AdamW(p, 0.01, eps=1e-7, weight_decay=0.1),
        {"adam-epsilon", "adam-beta-float32", "optimizer-float32"},
    ),
    (
        lambda: O.Adamax(0.01),
        lambda p: T.Adamax(p, 0.01, eps=1e-7),
        {"adamax-epsilon", "adam-beta-float32"},
    ),
    (
        lambda: O.Nadam(0.01),
        lambda p: T.NAdam(p, 0.01, eps=1e-7, momentum_decay=1.0),
        {"optimizer-float32"},
    ),
    (
        lambda: O.RMSprop(0.01),
        lambda p: T.RMSprop(p, 0.01, alpha=0.9, eps=1e-7),
        {"rmsprop-epsilon"},
    ),
    (
        lambda: O.RMSprop(0.01, momentum=0.9, centered=True),
        lambda p: T.RMSprop(p, 0.01, alpha=0.9, eps=1e-7, momentum=0.9, centered=True),
        {"rmsprop-epsilon"},
    ),
    (
        lambda: O.Adagrad(0.01),
        lambda p: T.Adagrad(p, 0.01, initial_accumulator_value=0.1, eps=1e-7),
        {"adagrad-epsilon", "optimizer-float32"},
    ),
    (
        lambda: O.Adadelta(1.0),
        lambda p: T.Adadelta(p, 1.0, rho=0.95, eps=1e-7),
        {},
    ),
    (
        lambda: O.SGD(O.schedules.ExponentialDecay(0.1, 1, 0.9)),
        lambda p: scheduled(sgd(p)),
        {"schedule-float32"},
    ),
]


@pytest.mark.sampled(10)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", range(len(RIGHT)))
def test_right_ports_differ_by_what_no_setting_remedies(tmp_path, case, dtype):
    ours, theirs, names = RIGHT[case]
    one, other = traces(tmp_path, ours, theirs, dtype=dtype)
    causes = set()
    for step in range(1, STEPS + 1):
        result = attribute(one, other, step)
        assert result.complete, (step, result.reason, result.parts)
        assert result.irremediable, (step, result.parts)
        assert not result.settings
        assert all(gap.required <= 1e-6 for gap in result.gaps.values())
        causes |= set(result.causes)
    assert causes == set(names) if dtype == "float64" else causes <= set(names)


def spared():
    optimizer = O.AdamW(0.01, weight_decay=0.1, **EXACT)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


class Accumulating(T.SGD):
    """Two steps' gradients make up one."""

    def __init__(self, p, lr, divided):
        super().__init__(p, lr=lr)
        self.divided, self.kept = divided, []

    def step(self, closure=None):
        loss = closure()
        own = self.param_groups[0]["params"]
        self.kept.append([p.grad.clone() for p in own])
        if len(self.kept) == 2:
            for p, first, second in zip(own, *self.kept, strict=True):
                p.grad = (first + second) / self.divided
            self.kept = []
            super().step()
        return loss


class Twice(T.SGD):
    def step(self, closure=None):
        loss = closure()
        super().step()
        super().step()
        return loss


EPS = {"adam-epsilon"}
WRONG = {
    "twice the rate": (
        1,
        lambda: O.Adam(0.01, **EXACT),
        lambda p: adam(p, lr=0.02),
        {"learning rate", *EPS},
    ),
    "default epsilon": (1, lambda: O.Adam(0.01, **EXACT), lambda p: adam(p, eps=1e-8), EPS),
    "SGD for Adam": (1, lambda: O.Adam(1e-3), lambda p: sgd(p, lr=1e-3), {"optimizer-kind"}),
    "SGD for Adam at another rate": (
        1,
        lambda: O.Adam(1e-2),
        lambda p: sgd(p, lr=0.5),
        {"optimizer-kind", "learning rate"},
    ),
    "RMSprop for Adam": (2, lambda: O.Adam(0.01), lambda p: T.RMSprop(p, 0.01), {"optimizer-kind"}),
    "decay in Adam": (
        1,
        lambda: O.Adam(0.01, **EXACT),
        lambda p: adam(p, weight_decay=0.1),
        {"weight-decay", *EPS},
    ),
    "coupled": (
        1,
        lambda: O.SGD(0.1, momentum=0.5, weight_decay=np.float64(0.1)),
        lambda p: sgd(p, momentum=0.5, weight_decay=0.1),
        {"weight-decay"},
    ),
    "decay forgotten": (1, lambda: O.SGD(0.1, weight_decay=np.float64(0.1)), sgd, {"weight decay"}),
    "another decay": (
        1,
        lambda: O.AdamW(0.01, weight_decay=np.float64(0.1), **EXACT),
        lambda p: T.AdamW(p, 0.01, eps=1e-7, weight_decay=0.2),
        {"weight decay", *EPS},
    ),
    "biases decay": (
        2,
        spared,
        lambda p: T.AdamW(p, 0.01, eps=1e-7, weight_decay=0.1),
        {"weight-decay-excluded", "optimizer-float32", *EPS},
    ),
    "biases decay, as Keras rounds it": (
        2,
        spared,
        lambda p: T.AdamW(p, 0.01, eps=1e-7, weight_decay=float(np.float32(0.1))),
        {"weight-decay-excluded", *EPS},
    ),
    "default decay": (
        1,
        lambda: O.AdamW(0.01, **EXACT),
        lambda p: T.AdamW(p, 0.01, eps=1e-7),
        {"optimizer-defaults", *EPS},
    ),
    "dampened": (
        2,
        lambda: O.SGD(0.1, momentum=0.5),
        lambda p: sgd(p, momentum=0.5, dampening=0.1),
        {"sgd-dampening"},
    ),
    "another momentum": (
        2,
        lambda: O.SGD(0.1, momentum=0.5),
        lambda p: sgd(p, momentum=0.6),
        {"momentum"},
    ),
    "no momentum": (1, lambda: O.SGD(0.1, momentum=0.5), sgd, {"momentum"}),
    "nesterov": (
        1,
        lambda: O.SGD(0.1, momentum=0.5),
        lambda p: sgd(p, momentum=0.5, nesterov=True),
        {"nesterov"},
    ),
    "uphill": (1, lambda: O.SGD(0.1), lambda p: sgd(p, maximize=True), {"maximize"}),
    "another beta": (
        2,
        lambda: O.Adam(0.01, **EXACT),
        lambda p: adam(p, betas=(0.8, 0.999)),
        {"beta_1", *EPS},
    ),
    "no amsgrad": (
        1,
        lambda: O.Adam(0.01, amsgrad=True, **EXACT),
        adam,
        {"amsgrad", *EPS},
    ),
    "defaults of RMSprop": (
        1,
        lambda: O.RMSprop(),
        lambda p: T.RMSprop(p),
        {"optimizer-defaults", "rmsprop-epsilon"},
    ),
    "defaults of Adagrad": (
        1,
        lambda: O.Adagrad(),
        lambda p: T.Adagrad(p),
        {"optimizer-defaults", "adagrad-epsilon"},
    ),
    "defaults of NAdam": (
        1,
        lambda: O.Nadam(),
        lambda p: T.NAdam(p),
        {"optimizer-defaults", "optimizer-float32", "nadam-momentum-decay"},
    ),
    "default rate": (1, lambda: O.SGD(0.1), lambda p: T.SGD(p), {"sgd-default-learning-rate"}),
    "no schedule": (
        2,
        lambda: O.SGD(O.schedules.ExponentialDecay(0.1, 1, 0.9)),
        sgd,
        {"learning-rate-schedule"},
    ),
    "momentum and a rate that changes": (
        2,
        lambda: O.SGD(
            O.schedules.ExponentialDecay(np.float64(0.1), 1, np.float64(0.9)), momentum=0.5
        ),
        lambda p: scheduled(sgd(p, momentum=0.5)),
        {"sgd-learning-rate-change"},
    ),
    "a layer is forgotten": (
        1,
        lambda: O.SGD(0.1),
        lambda p: sgd(list(p)[:2]),
        {"no optimizer moves b/bias, b/kernel in Torch"},
    ),
    "accumulation is summed": (
        2,
        lambda: O.SGD(0.1, gradient_accumulation_steps=2),
        lambda p: Accumulating(p, 0.1, 1.0),
        {"gradient-accumulation"},
    ),
    "accumulation is forgotten": (
        1,
        lambda: O.SGD(0.1, gradient_accumulation_steps=2),
        sgd,
        {"gradient-accumulation"},
    ),
}


@pytest.mark.sampled(10)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_ports_have_their_names(tmp_path, name):
    step, ours, theirs, expected = WRONG[name]
    result = attributed(tmp_path, ours, theirs, step)
    assert result.complete, (result.reason, result.parts)
    assert names(result) == expected
    accepted = ("default epsilon", "momentum and a rate that changes")
    assert not result.irremediable or name in accepted


CLIPPED = {
    "each norm": ({"clipnorm": 1.0}, clip_each(1.0), set()),
    "each value": ({"clipvalue": 0.5}, clip_values(0.5), set()),
    "the norm of all": ({"global_clipnorm": 1.0}, clip_all(1.0), {"clip-norm-epsilon"}),
    "all for each": ({"clipnorm": 1.0}, clip_all(1.0), {"gradient-clipping"}),
    "all for values": ({"clipvalue": 0.5}, clip_all(0.5), {"gradient-clipping"}),
    "forgotten": ({"clipnorm": 1.0}, None, {"gradient-clipping"}),
    "at another bound": ({"clipnorm": 1.0}, clip_each(0.3), {"gradient-clipping"}),
    "in Torch alone": ({}, clip_all(0.1), {"gradient-clipping"}),
}


@pytest.mark.parametrize("name", CLIPPED)
def test_clipping(tmp_path, name):
    options, hook, expected = CLIPPED[name]
    result = attributed(tmp_path, lambda: O.SGD(0.1, **options), sgd, hook=hook)
    assert result.complete
    assert names(result) == expected


UNKNOWN = {
    "two steps": (lambda: O.SGD(0.1), lambda p: Twice(p, lr=0.1), None, set()),
    "a hook of one's own": (
        lambda: O.Adam(0.01),
        adam,
        lambda p: p[0].grad.mul_(-1.0),
        {"adam-epsilon", "adam-beta-float32"},
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_nothing_known_is_a_good_answer(tmp_path, name):
    ours, theirs, hook, parts = UNKNOWN[name]
    result = attributed(tmp_path, ours, theirs, hook=hook)
    assert not result.complete
    assert result.causes == ()
    assert result.settings == ()
    assert result.parts.keys() <= parts
    assert result.reason


TOKENS = np.array([[1, 2, 3, 1], [2, 1, 1, 0], [3, 4, 0, 0], [4, 0, 0, 0]] * 2)


class Reader(nn.Module):
    """Tokens, a recurrent layer, a dense one; `both` biases of it are trained or one is."""

    def __init__(self, both=False):
        super().__init__()
        self.e, self.r, self.d = (
            nn.Embedding(5, 3),
            nn.LSTM(3, 4, batch_first=True),
            nn.Linear(4, 2),
        )
        self.r.bias_hh_l0.requires_grad_(both)

    def forward(self, x):
        return self.d(self.r(self.e(x))[0][:, -1])


def reader():
    parts = K.Embedding(5, 3, name="e"), K.LSTM(4, name="r"), K.Dense(2, name="d")
    return keras.Sequential([keras.Input((4,), dtype="int32"), *parts])


READ = {"model": reader, "net": Reader, "x": TOKENS}
SPARSE = {
    "sgd": (lambda: O.SGD(0.1), sgd, set()),
    "clipped": (lambda: O.SGD(0.1, clipnorm=0.05), sgd, {"sparse-gradients"}),
    "adam": (lambda: O.Adam(0.01), adam, {"adam-epsilon", "adam-beta-float32", "sparse-gradients"}),
    "rmsprop": (
        lambda: O.RMSprop(0.01),
        lambda p: T.RMSprop(p, 0.01, alpha=0.9, eps=1e-7),
        {"rmsprop-epsilon", "sparse-gradients"},
    ),
    "adagrad": (
        lambda: O.Adagrad(0.01),
        lambda p: T.Adagrad(p, 0.01, initial_accumulator_value=0.1, eps=1e-7),
        {"adagrad-epsilon", "optimizer-float32", "sparse-gradients"},
    ),
    "adadelta": (
        lambda: O.Adadelta(1.0),
        lambda p: T.Adadelta(p, 1.0, rho=0.95, eps=1e-7),
        {"sparse-gradients"},
    ),
    "adamax": (
        lambda: O.Adamax(0.01),
        lambda p: T.Adamax(p, 0.01, eps=1e-7),
        {"adamax-epsilon", "adam-beta-float32", "sparse-gradients"},
    ),
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", SPARSE)
def test_tokens_that_occur_twice(tmp_path, name, dtype):
    ours, theirs, expected = SPARSE[name]
    hook = clip_each(0.05) if name == "clipped" else None
    one, other = traces(tmp_path, ours, theirs, hook=hook, dtype=dtype, **READ)
    found = set()
    for step in range(1, STEPS + 1):
        result = attribute(one, other, step)
        assert result.complete, (step, result.reason, result.parts)
        assert result.irremediable
        found |= names(result)
    assert found == expected if dtype == "float64" else found <= expected


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (lambda: O.SGD(0.1, momentum=0.5), lambda p: sgd(p, momentum=0.5), set()),
        (lambda: O.Adam(0.01, **EXACT), adam, {"adam-epsilon", "sparse-gradients"}),
    ],
)
def test_two_biases_that_are_trained(tmp_path, ours, theirs, expected):
    options = {**READ, "net": lambda: Reader(both=True)}
    result = attributed(tmp_path, ours, theirs, **options)
    assert result.complete
    assert names(result) == {"lstm-single-bias", *expected}


def bounded():
    first = K.Dense(4, "tanh", name="a", kernel_constraint=keras.constraints.MaxNorm(0.5))
    return keras.Sequential([keras.Input((5,)), first, K.Dense(2, name="b")])


def test_what_keras_does_beside_its_settings_is_said(tmp_path):
    result = attributed(tmp_path, lambda: O.SGD(0.1), sgd, model=bounded)
    assert not result.complete
    assert result.reason == "Keras moved a/kernel otherwise than its optimizer's settings say"


class Later(Net):
    """From the second step on another gradient, from the same output."""

    calls = 0

    def forward(self, x):
        self.calls += self.training
        y = super().forward(x)
        return y if self.calls < 2 else 1.1 * y - 0.1 * y.detach()


def test_a_step_that_follows_from_a_wrong_gradient_is_not_complete(tmp_path):
    one, other = traces(tmp_path, lambda: O.Adam(0.01), adam, net=Later)
    assert attribute(one, other, 1).complete
    second = attribute(one, other, 2)
    assert not second.complete
    assert second.causes == ()
    assert "gradients of" in second.reason


def test_shares_add_up(tmp_path):
    result = attributed(tmp_path, lambda: O.Adam(0.01), lambda p: adam(p, lr=0.02))
    assert next(iter(result.parts)) == "learning rate: 0.01 in Keras, 0.02 in Torch"
    assert sum(result.parts.values()) == pytest.approx(1.0, abs=0.01)
    assert not result.inherited
    assert result.gaps.keys() > {"step/1/weights/a/kernel", "step/1/slots/a/kernel/first_moment"}


def test_slots_that_an_earlier_step_left_apart_are_inherited(tmp_path):
    one, other = traces(tmp_path, lambda: O.Adagrad(0.01), lambda p: T.Adagrad(p, 0.01, eps=1e-7))
    first, second = (attribute(one, other, step) for step in (1, 2))
    assert {"optimizer-defaults", "adagrad-epsilon"} <= set(first.causes)
    assert set(second.causes) == {"adagrad-epsilon"}
    assert (first.inherited, second.inherited) == (False, True)
