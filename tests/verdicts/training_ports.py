"""Ports whose optimizer is right or wrong: kinds, settings, clipping, accumulation, schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
from torch import nn, optim
from torch.nn import functional as F

from verdicts.optimizers import OPTIMIZERS, Accumulating, K
from verdicts.port import Fault, Original, Port, fault
from verdicts.small import Lit, Perceptron, perceptron

BOTH = ("float64", "float32")
ANYWHERE = ("optimizer", "hidden", "head")
OPTIMIZER = fault("optimizer")
SCHEDULE, CLIPPING, DECAY = "learning-rate-schedule", "gradient-clipping", "weight-decay"


def training_ports() -> Iterator[Port]:
    """Every one."""
    yield from _kinds()
    yield from _clipped()
    yield from _accumulated()
    yield from _scheduled()


def _plain(optimizer: Callable[[Any], Any]) -> dict[str, Any]:
    return {"torch_loss": F.mse_loss, "torch_optimizer": optimizer}


def _kinds() -> Iterator[Port]:
    for kind, both in OPTIMIZERS.items():
        original = perceptron(f"mlp, {kind}", both.keras)
        for dtype in BOTH:
            right = _plain(both.torch)
            yield Port("as it is", original, Perceptron, objective=right, dtype=dtype)
        yield from _wrong(kind, original)
    # With momentum, no setting of Torch's SGD decays beside the step: there is no right port.
    momentum = partial(K.SGD, 0.05, momentum=0.9, weight_decay=0.01)
    kind = "SGD, momentum and decay"
    yield from _wrong(kind, perceptron(f"mlp, {kind}", momentum))


def _wrong(kind: str, original: Original) -> Iterator[Port]:
    for name, told, wrong in WRONG.get(kind, ()):
        yield Port(name, original, Perceptron, told, _plain(wrong))


Wrong = tuple[str, Fault, Callable[[Any], Any]]

sgd = partial(optim.SGD, lr=0.05)
adam, adamw, nadam, adamax = (
    partial(kind, lr=1e-3, eps=1e-7)
    for kind in (optim.Adam, optim.AdamW, optim.NAdam, optim.Adamax)
)
rmsprop = partial(optim.RMSprop, lr=1e-3, alpha=0.9, eps=1e-7)
adagrad = partial(optim.Adagrad, lr=1e-2, initial_accumulator_value=0.1, eps=1e-7)
adadelta = partial(optim.Adadelta, lr=1e-1, rho=0.95, eps=1e-7)

DEFAULT_RATE = fault("optimizer", cause="sgd-default-learning-rate")
DEFAULTS = fault("optimizer", cause="optimizer-defaults")
# Keras' own rate is no default there: what Torch's comes from cannot be seen.
MAY_BE_DEFAULTS = fault("optimizer", also=["optimizer-defaults"])
MOMENTUM_DECAY = fault("optimizer", cause="nadam-momentum-decay")
KIND = fault("optimizer", cause="optimizer-kind")
ACCUMULATION = fault("optimizer", cause="gradient-accumulation")
EPSILON = fault("optimizer", cause="adam-epsilon", also=["optimizer-defaults"])
OTHER_EPSILON = fault("optimizer", also=["adam-epsilon"])
INSIDE = fault("optimizer", cause="rmsprop-epsilon", also=["optimizer-defaults"])
ALPHA = fault("optimizer", cause="optimizer-defaults", also=["rmsprop-epsilon"])
EXCLUDED = fault(*ANYWHERE, cause="weight-decay-excluded", also=[DECAY])
DEFAULT_DECAY = fault(*ANYWHERE, also=[DECAY, "optimizer-defaults", "optimizer-kind"])
COUPLED = fault("optimizer", cause=DECAY)
OTHER_DECAY = fault(*ANYWHERE, also=[DECAY, "optimizer-defaults", "weight-decay-excluded"])

WRONG: dict[str, Sequence[Wrong]] = {
    "SGD": [
        ("the default rate", DEFAULT_RATE, optim.SGD),
        ("half the rate", OPTIMIZER, partial(sgd, lr=0.025)),
        ("momentum 0.9", OPTIMIZER, partial(sgd, momentum=0.9)),
    ],
    "SGD, momentum": [
        ("no momentum", OPTIMIZER, sgd),
        ("twice the rate", OPTIMIZER, partial(sgd, lr=0.1, momentum=0.9)),
        (
            "dampened",
            fault("optimizer", cause="sgd-dampening"),
            partial(sgd, momentum=0.9, dampening=0.9),
        ),
        ("the default rate", DEFAULT_RATE, partial(optim.SGD, momentum=0.9)),
        ("maximize", OPTIMIZER, partial(sgd, momentum=0.9, maximize=True)),
        ("RMSprop", KIND, partial(optim.RMSprop, lr=0.05)),
    ],
    "SGD, decay": [
        ("no decay", OTHER_DECAY, sgd),
        ("ten times the decay", OTHER_DECAY, partial(sgd, weight_decay=0.1)),
    ],
    "SGD, momentum and decay": [
        ("the decay in the gradient", COUPLED, partial(sgd, momentum=0.9, weight_decay=0.01)),
        ("no decay", OTHER_DECAY, partial(sgd, momentum=0.9)),
    ],
    "Adam": [
        ("twice the rate", OPTIMIZER, partial(adam, lr=2e-3)),
        ("a third of the rate", OPTIMIZER, partial(adam, lr=1e-3 / 3)),
        ("the default epsilon", EPSILON, optim.Adam),
        ("epsilon 1e-4", OTHER_EPSILON, partial(adam, eps=1e-4)),
        ("β₁ 0.5", OPTIMIZER, partial(adam, betas=(0.5, 0.999))),
        ("β₂ 0.99", OPTIMIZER, partial(adam, betas=(0.9, 0.99))),
        ("amsgrad", OPTIMIZER, partial(adam, amsgrad=True)),
        ("a decay in the gradient", OTHER_DECAY, partial(adam, weight_decay=0.1)),
        ("AdamW and its default decay", DEFAULT_DECAY, adamw),
        ("SGD", KIND, partial(sgd, lr=1e-3)),
        ("NAdam", KIND, nadam),
        ("maximize", OPTIMIZER, partial(adam, maximize=True)),
    ],
    "AdamW": [
        ("twice the rate", OPTIMIZER, partial(adamw, lr=2e-3)),
        ("no decay", OTHER_DECAY, partial(adamw, weight_decay=0.0)),
        ("the decay in the gradient", COUPLED, partial(adam, weight_decay=0.01)),
        ("the default epsilon", EPSILON, optim.AdamW),
    ],
    "AdamW, kernels alone decay": [
        ("all decay", EXCLUDED, partial(adamw, lr=1e-2, weight_decay=0.1)),
        ("nothing decays", OTHER_DECAY, partial(adamw, lr=1e-2, weight_decay=0.0)),
    ],
    "RMSprop": [
        ("alpha left at 0.99", ALPHA, partial(rmsprop, alpha=0.99)),
        ("the default rate", DEFAULTS, partial(rmsprop, lr=1e-2)),
        ("the default epsilon", INSIDE, partial(rmsprop, eps=1e-8)),
        ("momentum 0.9", OPTIMIZER, partial(rmsprop, momentum=0.9)),
        ("centered", OPTIMIZER, partial(rmsprop, centered=True)),
        ("half the rate", OPTIMIZER, partial(rmsprop, lr=5e-4)),
    ],
    "Adamax": [
        ("the default rate", DEFAULTS, partial(adamax, lr=2e-3)),
        ("β₂ 0.9", OPTIMIZER, partial(adamax, betas=(0.9, 0.9))),
    ],
    "Nadam": [
        ("the default rate", DEFAULTS, partial(nadam, lr=2e-3, momentum_decay=1.0)),
        ("the default momentum decay", MOMENTUM_DECAY, nadam),
        ("Adam", KIND, adam),
    ],
    "Adagrad": [
        ("starts from zero", DEFAULTS, partial(adagrad, initial_accumulator_value=0.0)),
        ("a tenth of the rate", OPTIMIZER, partial(adagrad, lr=1e-3)),
        ("the rate decays", OPTIMIZER, partial(adagrad, lr_decay=0.5)),
    ],
    "Adadelta": [
        ("the default rate", MAY_BE_DEFAULTS, partial(adadelta, lr=1.0)),
        ("rho left at 0.9", DEFAULTS, partial(adadelta, rho=0.9)),
        ("the default epsilon", DEFAULTS, partial(adadelta, eps=1e-6)),
    ],
}
"""Kind in Keras → wrong ports of it: name, fault, what makes Torch's optimizer."""


def _each(parameters: Sequence[nn.Parameter], most: float = 1.0) -> None:
    for p in parameters:
        p.grad.mul_(most / p.grad.norm().clamp(min=most))


CLIPS: dict[str, tuple[dict[str, float], Callable[[Sequence[nn.Parameter]], object]]] = {
    "clipnorm": ({"clipnorm": 1.0}, _each),
    "global_clipnorm": ({"global_clipnorm": 1.0}, lambda p: nn.utils.clip_grad_norm_(p, 1.0)),
    "clipvalue": ({"clipvalue": 0.5}, lambda p: nn.utils.clip_grad_value_(p, 0.5)),
}
"""Setting in Keras → its value, and what does the same to Torch's gradients."""


def _clipped() -> Iterator[Port]:
    for setting, (value, clip) in CLIPS.items():
        original = perceptron(f"mlp, {setting}", partial(K.SGD, 0.1, **value))
        for dtype in BOTH:
            yield Port("clipped alike", original, _lit(clip=clip), dtype=dtype)
        told = fault(*ANYWHERE, cause=CLIPPING)
        yield Port("not clipped", original, _lit(), told)
        for other, (_, act) in CLIPS.items():
            if other != setting:
                yield Port(f"{other} for it", original, _lit(clip=act), told)
    more = fault(*ANYWHERE, also=[CLIPPING])
    original = perceptron("mlp, clipnorm 1", partial(K.SGD, 0.1, clipnorm=1.0))
    yield Port("clipped to 5", original, _lit(clip=partial(_each, most=5.0)), more)


def _lit(**options: Any) -> Callable[[], nn.Module]:
    """What builds the perceptron within a LightningModule."""
    return lambda: Lit(Perceptron(), **options)


def _accumulated() -> Iterator[Port]:
    original = perceptron("mlp, accumulation", partial(K.SGD, 0.1, gradient_accumulation_steps=2))
    for dtype in BOTH:
        right = _plain(lambda p: Accumulating(p, 0.1))
        yield Port("averaged", original, Perceptron, objective=right, dtype=dtype)
    for name, wrong in (
        ("summed", lambda p: Accumulating(p, 0.1, divided_by=1.0)),
        ("forgotten", lambda p: optim.SGD(p, lr=0.1)),
    ):
        yield Port(name, original, Perceptron, ACCUMULATION, _plain(wrong))
    original = perceptron("mlp, no accumulation", partial(K.SGD, 0.1))
    wrong = _plain(lambda p: Accumulating(p, 0.1))
    yield Port("accumulated", original, Perceptron, ACCUMULATION, wrong)


S = keras.optimizers.schedules
R = optim.lr_scheduler

SCHEDULES: dict[str, tuple[Callable[[], Any], Callable[..., Any], Callable[..., Any]]] = {
    "exponential": (
        lambda: S.ExponentialDecay(0.1, decay_steps=1, decay_rate=0.8),
        lambda o: R.ExponentialLR(o, 0.8),
        lambda o: R.ExponentialLR(o, 0.9),
    ),
    "inverse time": (
        lambda: S.InverseTimeDecay(0.1, decay_steps=2, decay_rate=0.5),
        lambda o: R.LambdaLR(o, lambda t: 1.0 / (1.0 + 0.5 * t / 2)),
        lambda o: R.LambdaLR(o, lambda t: 1.0 / (1.0 + 0.5 * t)),
    ),
    "cosine": (
        lambda: S.CosineDecay(0.1, decay_steps=10),
        lambda o: R.CosineAnnealingLR(o, T_max=10),
        lambda o: R.CosineAnnealingLR(o, T_max=9),
    ),
    # Up to and with the boundary it is the first value.
    "in pieces": (
        lambda: S.PiecewiseConstantDecay([1], [0.1, 0.01]),
        lambda o: R.MultiStepLR(o, [2]),
        lambda o: R.MultiStepLR(o, [1]),
    ),
}
"""Keras' schedule, Torch's, and one that is wrong."""


def _scheduled() -> Iterator[Port]:
    for name, (schedule, right, wrong) in SCHEDULES.items():
        original = perceptron(f"mlp, {name}", lambda schedule=schedule: K.SGD(schedule()))
        for dtype in BOTH:
            yield Port("by step", original, _lit(schedule=right), dtype=dtype)
        cause = fault("optimizer", cause=SCHEDULE)
        yield Port("by epoch", original, _lit(schedule=right, interval="epoch"), cause)
        yield Port("forgotten", original, _lit(), cause)
        told = fault("optimizer", also=[SCHEDULE])
        yield Port("another", original, _lit(schedule=wrong), told)
        late = _lit(schedule=partial(_late, schedule=right))
        yield Port("a step late", original, late, told)


def _late(optimizer: Any, *, schedule: Callable[[Any], Any]) -> Any:
    """The first rate twice."""
    scheduler = schedule(optimizer)
    advance, calls = scheduler.step, []

    def step(*args: Any) -> None:
        calls.append(args)
        if len(calls) > 1:
            advance(*args)

    scheduler.step = step
    return scheduler
