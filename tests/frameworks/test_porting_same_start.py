"""Every later step, and the evaluation, starts from the same weights on both sides."""

from functools import partial

import keras
import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

import compare
from bn_torch import BiasedBatchNorm
from compare.backends.keras.weights import read_weights
from compare.porting.models import KerasSide, TorchSide
from compare.porting.same_start import SameStart, weights_before
from compare.trace import rename

K, OPT = keras.layers, keras.optimizers
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(8, 4, 4, 2)), RNG.normal(size=(8, 2))


def keras_model():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            K.Conv2D(3, 2, name="conv"),
            K.BatchNormalization(name="norm"),
            K.Flatten(),
            K.BatchNormalization(name="flat"),
            K.Dense(2, name="head"),
        ]
    )
    model.compile(OPT.SGD(0.1, momentum=np.float64(0.9)), "mse")
    return model


def port():
    norm = partial(BiasedBatchNorm, eps=1e-3, momentum=1.0 - 0.99)
    layers = nn.Conv2d(2, 3, 2), norm(3), nn.Flatten(), norm(27), nn.Linear(27, 2)
    return nn.Sequential(*layers).double()


@pytest.fixture
def traced(tmp_path):
    """Both traces over three steps, Torch's with another learning rate, and the module."""
    model, module = keras_model(), port()
    compare.port_weights(model, module, x=X)
    keras_side = KerasSide(model)
    batches = [(X, Y)] * 3
    ours = keras_side.trace(batches, tmp_path / "keras")
    side = TorchSide(module, (F.mse_loss, lambda p: optim.SGD(p, lr=0.2, momentum=0.9)))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    theirs = side.trace(batches, tmp_path / "torch", partial(SameStart, ours, None))
    assert all(torch.equal(value, before[k]) for k, value in module.state_dict().items())
    return ours, theirs


PARTNERS = {"conv": "0", "norm": "1", "flat": "3", "head": "4"}
ORDER = np.arange(27).reshape(9, 3).T.ravel()
"""Where Torch has Keras' features: channel by channel."""


def in_keras(array, layer):
    """An array of Torch's by feature, in Keras' order."""
    by_feature = layer in ("flat", "head") and len(array) == 27
    return array[np.argsort(ORDER)] if by_feature else array


def test_a_step_that_goes_too_far_is_not_where_the_next_one_starts(traced):
    ours, theirs = traced
    apart = ours["step/1/weights/head/bias"] - theirs["step/1/weights/4/bias"]
    assert np.abs(apart).min() > 1e-4
    for layer, partner in PARTNERS.items():
        for tensor in ("gamma", "beta") if layer in ("norm", "flat") else ("kernel", "bias"):
            for step in (2, 3):
                gradient = theirs[f"step/{step}/gradient/{partner}/{tensor}"]
                expected = ours[f"step/{step}/gradient/{layer}/{tensor}"]
                assert np.allclose(expected, in_keras(gradient, layer), rtol=0, atol=1e-13)


def test_statistics_start_alike_too_and_so_does_the_evaluation(traced):
    ours, theirs = traced
    assert np.allclose(ours["prediction"], theirs["prediction"], rtol=0, atol=1e-12)
    for step in (1, 2, 3):
        for layer in ("norm", "flat"):
            for tensor in ("moving_mean", "moving_variance"):
                a = ours[f"step/{step}/statistics/{layer}/{tensor}"]
                b = theirs[f"step/{step}/statistics/{PARTNERS[layer]}/{tensor}"]
                assert np.allclose(a, in_keras(b, layer), rtol=0, atol=1e-13)


def test_slots_go_on_as_each_side_has_them(traced):
    ours, theirs = traced
    for step in (1, 2, 3):
        keras, torch_ = (
            side[f"step/{step}/slots/{name}/kernel/velocity"]
            for side, name in ((ours, "head"), (theirs, "4"))
        )
        assert np.allclose(2.0 * keras, in_keras(torch_, "head"), rtol=1e-9, atol=0)


def test_what_has_another_shape_or_no_partner_stays(tmp_path):
    model, module = keras_model(), port()
    module[4] = nn.Linear(27, 3).double()
    ours = KerasSide(model).trace([(X, Y)] * 2, tmp_path / "keras")
    side = TorchSide(module, (lambda output, y: output.mean(), lambda p: optim.SGD(p, lr=0.1)))
    theirs = side.trace([(X, Y)] * 2, tmp_path / "torch", partial(SameStart, ours, None))
    weights = SameStart(ours, None, lambda layers: theirs)(2, theirs.layers)
    assert {name.partition("/")[0] for name in weights} == {"0", "1", "3"}
    assert SameStart(ours, None, lambda layers: theirs)(1, theirs.layers) == {}
    assert "error" not in theirs


def test_before_a_step_are_the_weights_that_the_one_before_has_left(traced):
    ours, _ = traced
    weights = weights_before(3, ours)
    assert weights.keys() == read_weights(keras_model()).keys()
    assert np.array_equal(weights["head/kernel"], ours["step/2/weights/head/kernel"])
    moving = weights_before(4, ours)["norm/moving_mean"]
    assert np.array_equal(moving, ours["step/3/statistics/norm/moving_mean"])


def test_gradients_of_later_steps_belong_to_layers():
    assert rename("step/2/gradient/0/kernel", {"0": "conv"}) == "step/2/gradient/conv/kernel"
    assert rename("step/1/optimizer/0/kernel", {"0": "conv"}) == "step/1/optimizer/0/kernel"


def test_an_accepted_difference_does_not_add_up():
    class Stock(nn.Sequential):
        def __init__(self):
            norm = {"eps": 1e-3, "momentum": 1.0 - 0.99}
            layers = nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3, **norm), nn.Flatten()
            super().__init__(*layers, nn.BatchNorm1d(27, **norm), nn.Linear(27, 2))

    def check(allow, steps):
        return compare.check_parity(
            *(keras_model, Stock, X, Y),
            weights_from="keras",
            torch_loss=F.mse_loss,
            torch_optimizer=lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
            allow=allow,
            steps=steps,
        )

    accepted = check(["bn-biased-variance"], 5)
    assert accepted.passed, str(accepted)
    wrong = check([], 5)
    assert (wrong.first_divergence.rung, wrong.first_divergence.step) == (8, 1)
    gaps = [
        check.gap.max_abs
        for check in wrong.checks
        if check.path.endswith("statistics/norm/moving_variance")
    ]
    assert len(gaps) == 5
    assert gaps[-1] < 0.5 * sum(gaps)
    assert all(check.passed for check in wrong.checks if check.rung == 9)
