"""What explains a first step that differs: rates, epsilons and weight decay, read off the step.

From the step that an optimizer took and from what it remembers, its learning rate, its epsilon and
its weight decay follow. Where the fits of both sides hold, they tell what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compare.parity.explain.evidence import Array, Evidence
from compare.parity.explain.steps import share, solved
from compare.trace import Trace

_SGD_RATE, _RMSPROP_RATE = 1e-3, 1e-2
"""Learning rates of Torch's optimizers where nobody says otherwise."""

_ADAMW_DECAYS = 4e-3, 1e-2
"""AdamW's weight decay in Keras and in Torch where nobody says otherwise."""

_ROUNDING = 1e-9
"""Differences so small beside the largest are none."""

_EQUAL = 1e-9
"""Two fitted learning rates are one where they differ by no more, relative."""


@dataclass(frozen=True)
class _Side:
    """What one side's first step did to all weights, end to end.

    Attributes:
        weights: Before the step.
        moved: Weights before, minus after.
        gradient: What reached them.
        slots: Name of a slot → its value after the step.
    """

    weights: Array
    moved: Array
    gradient: Array
    slots: dict[str, Array]


@dataclass(frozen=True)
class _Fit:
    """`moved = rate · direction(epsilon) + shrunk · weights`, with the largest error."""

    rate: float
    epsilon: float
    shrunk: float
    error: float


def first_step(e: Evidence) -> Sequence[str]:
    """Learning rate, epsilon and weight decay, as far as Torch's differ from Keras'."""
    if e.check.step != 1:
        return ()
    embeddings = {layer["name"] for layer in e.keras.layers if layer["kind"] == "embedding"}
    names = [
        name
        for key in e.keras
        if (name := key.removeprefix("gradient/")) != key
        # Keras sums their squares in another way.
        and name.rpartition("/")[0] not in embeddings
        and f"step/1/weights/{name}" in e.keras
        and key in e.torch
    ]
    keras, torch = (_side(trace, names) for trace in (e.keras, e.torch))
    if {"first_moment", "second_moment"} <= keras.slots.keys() & torch.slots.keys():
        return _adam(e, keras, torch)
    if "second_moment" in keras.slots.keys() & torch.slots.keys():
        return _rmsprop(e, keras, torch)
    return _sgd(keras, torch)


def _side(trace: Trace, names: Sequence[str]) -> _Side:
    def joined(start: str, end: str = "") -> Array:
        parts = (np.asarray(trace[f"{start}/{n}{end}"], dtype=np.float64) for n in names)
        return np.concatenate([part.ravel() for part in parts])

    kept = ("velocity", "first_moment", "second_moment")
    weights = joined("initial")
    return _Side(
        weights,
        weights - joined("step/1/weights"),
        joined("gradient"),
        {
            slot: joined("step/1/slots", f"/{slot}")
            for slot in kept
            if all(f"step/1/slots/{name}/{slot}" in trace for name in names)
        },
    )


def _sgd(keras: _Side, torch: _Side) -> Sequence[str]:
    decayed = _coupled("velocity", keras, torch)
    if decayed:
        return decayed
    rates = []
    for side in (keras, torch):
        # The first velocity is minus the learning rate times the gradient.
        moved = -side.slots["velocity"] if "velocity" in side.slots else side.moved
        rates.append(share(moved, side.gradient))
    return _rates(*rates, default=_SGD_RATE, convention="sgd-default-learning-rate")


def _rates(keras: float, torch: float, *, default: float, convention: str) -> Sequence[str]:
    """Torch's default, or Keras' rounded by a schedule; nothing where they are one."""
    if torch == 0.0:  # A warm-up from zero, or another copy's parameters.
        return ()
    if abs(keras / torch - 1.0) <= _EQUAL:
        return ()
    if abs(torch / default - 1.0) < 1e-6 < abs(torch / keras - 1.0):
        return (convention,)
    rounded = abs(keras / float(np.float32(torch)) - 1.0) <= _EQUAL
    return ("learning-rate-schedule",) if rounded else ()


def _coupled(slot: str, keras: _Side, torch: _Side) -> Sequence[str]:
    """Torch's slot has a share of the weights in it, Keras' has not, and its weights shrink."""
    if slot not in keras.slots or slot not in torch.slots:
        return ()
    apart = torch.slots[slot] - keras.slots[slot]
    # Biases may be spared: what they differ by is rounding.
    moved = np.abs(apart) > _ROUNDING * np.abs(apart).max(initial=0.0)
    part = share(apart[moved], torch.weights[moved])
    error = np.abs(apart - part * torch.weights)[moved].max(initial=0.0)
    fits = moved.any() and error <= 1e-6 * np.abs(apart).max()
    if slot != "velocity" or not fits:
        return ("weight-decay",) if fits else ()
    shrunk = keras.moved + keras.slots[slot]
    decoupled = share(shrunk, keras.weights)
    return ("weight-decay",) if abs(decoupled + part) <= 1e-6 * abs(part) else ()


def _adam(e: Evidence, keras: _Side, torch: _Side) -> Sequence[str]:
    beta_1 = 1.0 - share(keras.slots["first_moment"], keras.gradient)
    beta_2 = 1.0 - share(keras.slots["second_moment"], keras.gradient**2)
    ours, theirs = (_fit_adam(e, side, beta_1, beta_2) for side in (keras, torch))
    if ours is None or theirs is None:
        return ()
    noise = 10.0 * max(ours.error, theirs.error)
    names = list(_betas(ours.rate, theirs.rate, beta_1, beta_2))
    direction = torch.slots["first_moment"] / (1.0 - beta_1)
    size = np.sqrt(torch.slots["second_moment"] / (1.0 - beta_2))
    steps = [theirs.rate * direction / (size + fit.epsilon) for fit in (ours, theirs)]
    if np.abs(np.nan_to_num(steps[0] - steps[1])).max() > noise:
        names.insert(0, "adam-epsilon")
    if np.abs((ours.shrunk - theirs.shrunk) * torch.weights).max() > noise:
        names += _coupled("first_moment", keras, torch) or _default_decay(ours, theirs)
    return names


def _betas(keras: float, torch: float, beta_1: float, beta_2: float) -> Sequence[str]:
    """What rounded betas make of Keras' first correction."""
    rounded_1, rounded_2 = float(np.float32(beta_1)), float(np.float32(beta_2))
    factor = np.sqrt((1.0 - rounded_2) / (1.0 - beta_2)) * (1.0 - beta_1) / (1.0 - rounded_1)
    if torch == 0.0:
        return ()
    if abs(keras / torch - 1.0) <= _EQUAL:
        return ()
    if abs(keras / torch / factor - 1.0) <= _EQUAL:
        return ("adam-beta-float32",)
    both = abs(keras / float(np.float32(torch)) / factor - 1.0) <= _EQUAL
    alone = abs(keras / float(np.float32(torch)) - 1.0) <= _EQUAL
    if both:
        return ("adam-beta-float32", "learning-rate-schedule")
    return ("learning-rate-schedule",) if alone else ()


def _default_decay(keras: _Fit, torch: _Fit) -> Sequence[str]:
    decays = [fit.shrunk / fit.rate for fit in (keras, torch)]
    fits = all(abs(d / k - 1.0) < 1e-5 for d, k in zip(decays, _ADAMW_DECAYS, strict=True))
    return ("optimizer-defaults",) if fits else ()


def _fit_adam(e: Evidence, side: _Side, beta_1: float, beta_2: float) -> _Fit | None:
    """`moved · (size + epsilon) = rate · direction + shrunk · weights · (size + epsilon)`."""
    direction = side.slots["first_moment"] / (1.0 - beta_1)
    size = np.sqrt(side.slots["second_moment"] / (1.0 - beta_2))
    columns = [direction, side.weights * size, side.weights, -side.moved]
    rate, shrunk, _, epsilon = solved(columns, side.moved * size)
    predicted = rate * direction / (size + epsilon) + shrunk * side.weights
    return _checked(e, side, np.nan_to_num(predicted), (rate, epsilon, shrunk))


def _rmsprop(e: Evidence, keras: _Side, torch: _Side) -> Sequence[str]:
    ours = _fit_inside(e, keras)
    if ours is None:
        return ()
    theirs = _fit_outside(e, torch) or _fit_inside(e, torch)
    if theirs is None:
        return ()
    names = ("rmsprop-epsilon",)
    if abs(theirs.rate / ours.rate - 1.0) <= 1e-6:
        return names
    default = abs(theirs.rate / _RMSPROP_RATE - 1.0) <= 1e-6
    return ("optimizer-defaults", *names) if default else ()


def _fit_inside(e: Evidence, side: _Side) -> _Fit | None:
    """Epsilon inside the root: `moved² · average = rate² · gradient² − epsilon · moved²`."""
    average = side.slots["second_moment"]
    squares = [side.gradient**2, -(side.moved**2)]
    rate, epsilon = solved(squares, side.moved**2 * average)
    predicted = np.sqrt(rate) * side.gradient / np.sqrt(average + epsilon)
    return _checked(e, side, predicted, (float(np.sqrt(rate)), epsilon, 0.0))


def _fit_outside(e: Evidence, side: _Side) -> _Fit | None:
    """Epsilon beside the root: `moved · √average = rate · gradient − epsilon · moved`."""
    size = np.sqrt(side.slots["second_moment"])
    rate, epsilon = solved([side.gradient, -side.moved], side.moved * size)
    predicted = np.nan_to_num(rate * side.gradient / (size + epsilon))
    return _checked(e, side, predicted, (rate, epsilon, 0.0))


def _checked(
    e: Evidence, side: _Side, predicted: Array, found: tuple[float, float, float]
) -> _Fit | None:
    """The fit, if what it predicts holds to the rounding of the weights."""
    unit = float(np.finfo(np.float32 if e.single else np.float64).eps)
    error = float(np.abs(predicted - side.moved).max())
    largest = 8.0 * unit * float(np.abs(side.weights).max()) + 1e-7 * float(
        np.abs(side.moved).max()
    )
    return _Fit(*found, error) if error <= largest else None
