"""A trace that is not the user's own training is refused, by naming the weight."""

import re

import keras
import lightning as L
import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

import compare
from compare.backends.keras import steps
from compare.backends.loading import load
from compare.porting import real_step
from compare.porting.floors import shaken
from compare.porting.models import KerasSide, TorchSide
from compare.porting.real_step import check_real_step

K, OPT = keras.layers, keras.optimizers
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(8, 3)), RNG.normal(size=(8, 2))


def built(optimizer, trained=3):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3,)), K.Dense(4, bias_initializer="ones", name="a"), K.Dense(2, name="b")]
    )
    model.compile(optimizer, "mse", run_eagerly=True)
    model.fit(X, Y, batch_size=8, epochs=trained, shuffle=False, verbose=0)
    return model


def checked(side, trace, x=X, y=Y):
    check_real_step(side, x, y, trace, lambda: shaken(side, [(x, y)], trace))


def traced_and_checked(side, folder):
    checked(side, side.trace([(X, Y)] * 2, folder))


def excluding():
    optimizer = OPT.AdamW(0.01, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


SCHEDULE = OPT.schedules.ExponentialDecay(0.1, 1, 0.5)
LOST = {
    "exclusions": (excluding, {"_exclude_from_weight_decay_pattern": None}, "bias"),
    "decay": (lambda: OPT.AdamW(0.01, weight_decay=0.1), {"weight_decay": None}, "a/"),
    "clipnorm": (lambda: OPT.SGD(0.1, clipnorm=0.01), {"clipnorm": None}, "a/"),
    "clipvalue": (lambda: OPT.SGD(0.1, clipvalue=0.01), {"clipvalue": None}, "a/"),
    "global_clipnorm": (
        lambda: OPT.SGD(0.1, global_clipnorm=0.01),
        {"global_clipnorm": None},
        "a/",
    ),
    "use_ema": (lambda: OPT.SGD(0.1, use_ema=True), {"use_ema": False}, "average"),
    "ema_momentum": (lambda: OPT.SGD(0.1, use_ema=True), {"ema_momentum": 0.5}, "average"),
    "ema_overwrite_frequency": (
        lambda: OPT.SGD(0.1, use_ema=True, ema_overwrite_frequency=2),
        {"ema_overwrite_frequency": None},
        "a/",
    ),
    "accumulation": (
        lambda: OPT.SGD(0.1, gradient_accumulation_steps=2),
        {"gradient_accumulation_steps": None},
        "a/",
    ),
    "half the accumulation": (
        lambda: OPT.SGD(0.1, gradient_accumulation_steps=3),
        {"gradient_accumulation_steps": 2},
        "a/",
    ),
    "momentum": (lambda: OPT.SGD(0.1, momentum=0.9), {"momentum": 0.8}, "a/"),
    "nesterov": (lambda: OPT.SGD(0.1, momentum=0.9, nesterov=True), {"nesterov": False}, "a/"),
    "schedule": (lambda: OPT.SGD(SCHEDULE), {"_learning_rate": 0.1}, "a/"),
    "amsgrad": (lambda: OPT.Adam(0.01, amsgrad=True), {"amsgrad": False}, "max_second_moment"),
    "beta_1": (lambda: OPT.Adam(0.01), {"beta_1": 0.8}, "a/"),
    "beta_2": (lambda: OPT.Adam(0.01), {"beta_2": 0.99}, "a/"),
    "epsilon": (lambda: OPT.Adam(0.01), {"epsilon": 1e-3}, "a/"),
    "centered": (lambda: OPT.RMSprop(0.01, centered=True), {"centered": False}, "a/"),
    "rho": (lambda: OPT.RMSprop(0.01, rho=0.8), {"rho": 0.9}, "a/"),
    "rho of Adadelta": (lambda: OPT.Adadelta(0.1), {"rho": 0.5}, "a/"),
    "beta_1 of Nadam": (lambda: OPT.Nadam(0.01), {"beta_1": 0.8}, "a/"),
    "beta_2 of Adamax": (lambda: OPT.Adamax(0.01, beta_2=0.9), {"beta_2": 0.5}, "a/"),
    "beta_2 of Lion": (lambda: OPT.Lion(0.01), {"beta_2": 0.5}, "momentum|first_moment"),
}
"""What is lost → an optimizer, attributes as they are in the traced steps, what must be named."""


@pytest.mark.sampled(6)
@pytest.mark.parametrize("lost", LOST)
def test_an_optimizer_that_loses_something_as_it_is_traced_is_refused(lost, tmp_path, monkeypatch):
    make, attributes, named = LOST[lost]
    side = KerasSide(built(make()))
    with side.in_its_dtype():
        traced_and_checked(side, tmp_path / "right")
    step = steps.Training.step

    def losing(training, *args, **options):
        vars(side.model.optimizer).update(attributes)
        # What is excluded is remembered.
        vars(side.model.optimizer).pop("_exclude_from_weight_decay_cache", None)
        return step(training, *args, **options)

    monkeypatch.setattr(steps.Training, "step", losing)
    told = r"^the Keras side trains otherwise .*: \S*(" + named + r").* in the traced step"
    with pytest.raises(compare.InputError, match=told) as refused:
        traced_and_checked(side, tmp_path / "wrong")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("loss", ["missing", "too many"])
def test_what_an_optimizer_keeps_in_one_of_the_steps_alone_is_named(loss, tmp_path, monkeypatch):
    side = KerasSide(built(OPT.SGD(0.1, momentum=0.9), trained=0))
    lost = "momentum", 0.0
    if loss == "too many":
        side = KerasSide(built(OPT.SGD(0.1, momentum=0.0), trained=0))
        lost = "momentum", 0.9
    step = steps.Training.step

    def losing(training, *args, **options):
        setattr(side.model.optimizer, *lost)
        return step(training, *args, **options)

    monkeypatch.setattr(steps.Training, "step", losing)
    alone = "real" if loss == "missing" else "traced"
    told = rf"/velocity is there in the {alone} step alone"
    with pytest.raises(compare.InputError, match=told):
        traced_and_checked(side, tmp_path / "a")


def test_a_layer_that_computes_otherwise_when_it_is_watched_is_refused(tmp_path):
    class Shy(K.Dense):
        def call(self, x, training=False):
            return super().call(x) * (2.0 if "call" in vars(self) else 1.0)

    model = keras.Sequential([keras.Input((3,)), Shy(2, name="shy")])
    model.compile(OPT.SGD(0.1), "mse")
    with pytest.raises(compare.InputError, match=r"Keras side trains otherwise .*: shy/kernel\["):
        traced_and_checked(KerasSide(model), tmp_path / "a")


class Shy(nn.Linear):
    def forward(self, x):
        return super().forward(x) * (2.0 if self._forward_hooks else 1.0)


class Lit(L.LightningModule):
    def __init__(self, layer=nn.Linear):
        super().__init__()
        torch.manual_seed(0)
        self.shy = layer(3, 2)

    def forward(self, x):
        return self.shy(x)

    def training_step(self, batch, index):
        return F.mse_loss(self.shy(batch[0]), batch[1])

    def configure_optimizers(self):
        return optim.Adam(self.parameters(), 0.01)


def torch_side(module, optimizer=lambda p: optim.SGD(p, 0.1)):
    module = module.double()
    plain = not isinstance(module, L.LightningModule)
    return TorchSide(module, (F.mse_loss, optimizer) if plain else None)


@pytest.mark.parametrize("make", [lambda: nn.Sequential(Shy(3, 2)), lambda: Lit(Shy)])
def test_a_module_that_computes_otherwise_when_it_is_watched_is_refused(make, tmp_path):
    told = r"^the Torch side trains otherwise .*: \w+/kernel\[\d, \d\] is .* in the traced step, "
    with pytest.raises(compare.InputError, match=told) as refused:
        traced_and_checked(torch_side(make()), tmp_path / "a")
    values = re.findall(r"is (\S+) in the traced step, (\S+) in the real", str(refused.value))
    assert len({float(value) for pair in values for value in pair}) == 2


class Twice(optim.Optimizer):
    """Keeps something that nobody knows, of which it makes nothing."""

    def __init__(self, parameters, watched):
        super().__init__(parameters, {"lr": 0.1})
        self.watched = watched

    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["secret"] = torch.full((2,), float(next(self.watched)))


def test_what_torchs_optimizer_keeps_beside_its_slots_is_compared(tmp_path):
    watched = iter(range(100))
    side = torch_side(nn.Sequential(nn.Linear(3, 2)), lambda p: Twice(p, watched))
    told = r"0\.weight/secret\[0\] is 0 in the traced step, 4 in the real"
    with pytest.raises(compare.InputError, match=told):
        traced_and_checked(side, tmp_path / "a")


def uphill(optimizer, *args):
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.neg_()


def hooked(parameters):
    optimizer = optim.SGD(parameters, 0.1)
    optimizer.register_step_pre_hook(uphill)
    return optimizer


class Overriding(Lit):
    def optimizer_step(self, epoch, index, optimizer, closure=None):
        closure()
        uphill(optimizer)
        optimizer.step()


class Before(Lit):
    def on_before_optimizer_step(self, optimizer):
        uphill(optimizer)


class After(Lit):
    def on_after_backward(self):
        for parameter in self.parameters():
            parameter.grad.neg_()


class AtTheEnd(Lit):
    def on_train_batch_end(self, outputs, batch, index):
        with torch.no_grad():
            self.shy.weight.clamp_(-0.1, 0.1)


class GradientHook(Lit):
    def configure_optimizers(self):
        for parameter in self.parameters():
            parameter.register_hook(torch.neg)
        return super().configure_optimizers()


def keras_dense(optimizer):
    model = keras.Sequential([keras.Input((3,)), K.Dense(2, name="shy")])
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize(
    ("make", "rung"),
    [(Overriding, 7), (Before, 7), (After, 7), (AtTheEnd, 7), (GradientHook, 6)],
)
def test_what_a_module_does_around_its_steps_takes_effect_in_the_trace(make, rung):
    exact = OPT.SGD(0.1)

    class WithSgd(make):
        def configure_optimizers(self):
            super().configure_optimizers()
            return optim.SGD(self.parameters(), 0.1)

    report = compare.check_parity(
        keras_dense(exact), WithSgd().double(), X, Y, weights_from="keras"
    )
    assert report.first_divergence.rung == rung
    assert report.first_divergence.step == 1


def test_a_hook_of_a_plain_modules_optimizer_takes_effect_in_the_trace():
    module = nn.Sequential(nn.Linear(3, 2)).double()
    options = {"weights_from": "keras", "torch_loss": F.mse_loss}
    right = compare.check_parity(
        *(keras_dense(OPT.SGD(0.1)), module, X, Y),
        **options,
        torch_optimizer=lambda p: optim.SGD(p, 0.1),
    )
    assert right.passed, str(right)
    wrong = compare.check_parity(
        *(keras_dense(OPT.SGD(0.1)), module, X, Y), **options, torch_optimizer=hooked
    )
    assert (wrong.first_divergence.rung, wrong.first_divergence.step) == (7, 1)


@pytest.mark.parametrize(
    "optimizer",
    [
        hooked,
        lambda p: optim.LBFGS(p, 0.1, max_iter=3),
        lambda p: optim.Adam(p, 0.01, foreach=True),
        lambda p: optim.AdamW([{"params": [q], "lr": 0.1 / (i + 1)} for i, q in enumerate(p)]),
    ],
)
def test_the_traced_step_of_a_plain_module_is_the_plain_loop_to_the_bit(optimizer, tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    side = torch_side(module, optimizer)
    trace = side.trace([(X, Y)], tmp_path / "a")
    checked(side, trace)
    own = optimizer(module.parameters())

    def closure():
        own.zero_grad()
        loss = F.mse_loss(module(torch.from_numpy(X)), torch.from_numpy(Y))
        loss.backward()
        return loss

    if isinstance(own, optim.LBFGS):
        own.step(closure)
    else:
        closure()
        own.step()
    kernel = module[2].weight.detach().t().numpy()
    assert np.array_equal(trace["step/1/weights/2/kernel"], kernel)


def off_by(units, take=TorchSide.real_step):
    """A real step that leaves the first kernel some units in the last place away."""

    def step(side, x, y, sink):
        def shifted(path, array):
            moved = array.copy()
            moved.flat[0] += units * np.finfo(array.dtype).eps * np.abs(array).max()
            sink(path, moved if path.endswith("kernel") else array)

        take(side, x, y, shifted)

    return step


def test_only_what_is_more_than_rounding_is_refused(tmp_path, monkeypatch):
    side = torch_side(nn.Sequential(nn.Linear(3, 2)))
    trace = side.trace([(X, Y)], tmp_path / "a")
    monkeypatch.setattr(TorchSide, "real_step", off_by(0.9 * real_step.UNITS))
    check_real_step(side, X, Y, trace, dict)
    for wrong in (1.1 * real_step.UNITS, np.nan, np.inf):
        monkeypatch.setattr(TorchSide, "real_step", off_by(wrong))
        with pytest.raises(compare.InputError, match=r"0/kernel\[0, 0\] is"):
            check_real_step(side, X, Y, trace, dict)
    # What rounding in the network itself asks for counts where it is more, and has a ceiling.
    for wrong, wide in ((1.1 * real_step.UNITS, True), (1e7, False), (np.nan, False)):
        monkeypatch.setattr(TorchSide, "real_step", off_by(wrong))
        if wide:
            checked(side, trace)
            continue
        with pytest.raises(compare.InputError, match=r"0/kernel\[0, 0\] is"):
            checked(side, trace)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_a_compiled_step_rounds_otherwise_is_no_other_training(dtype, tmp_path):
    """A bias before a norm has no gradient but rounding, of which Adam makes a whole step."""
    layers = [
        K.Conv2D(4, 3, groups=2, name="conv"),
        K.BatchNormalization(name="norm"),
        K.Flatten(),
        K.Dense(2, name="head"),
    ]
    x = RNG.normal(size=(8, 6, 6, 4)).astype(dtype)
    with load("keras").building(dtype):
        model = keras.Sequential([keras.Input((6, 6, 4)), *layers])
        model.compile(OPT.Adam(0.01), "mse")
    side = KerasSide(model)
    y = Y.astype(dtype)
    checked(side, side.trace([(x, y)], tmp_path / "a"), x, y)


def test_what_draws_unseen_is_told_so(tmp_path):
    noise = np.random.default_rng(0)

    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x) + torch.from_numpy(noise.normal(size=2))

    with pytest.raises(compare.InputError, match="the Torch side computes something else each"):
        traced_and_checked(torch_side(nn.Sequential(Noisy(3, 2))), tmp_path / "a")


def test_training_that_raises_when_nobody_watches_is_told(tmp_path):
    class Brave(nn.Linear):
        def forward(self, x):
            assert self._forward_hooks or not self.training, "nobody there"
            return super().forward(x)

    with pytest.raises(compare.InputError, match="unwatched: AssertionError: nobody there"):
        traced_and_checked(torch_side(nn.Sequential(Brave(3, 2))), tmp_path / "a")


def test_nothing_that_is_watched_stays_on_an_optimizer():
    model = built(OPT.SGD(0.1))
    own = set(vars(model.optimizer))
    KerasSide(model).stream([(X, Y)], lambda name, array: None)
    assert set(vars(model.optimizer)) == own
