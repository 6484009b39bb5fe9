"""What explains steps, statistics and trainings that differ although gradients agree.

From the step that an optimizer took and from what it remembers, its learning rate, its epsilon and
its weight decay follow. Where the fits of both sides hold, they tell what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compare.parity.explain.evidence import Array, Evidence, double, explains, statistics_update
from compare.trace import Trace

_SGD_RATE, _RMSPROP_RATE = 1e-3, 1e-2
"""Default learning rates of Torch's optimizers."""

_ADAMW_DECAYS = 4e-3, 1e-2
"""Default weight decay of AdamW in Keras and in Torch."""

_ROUNDING = 1e-9
"""Differences this small beside the largest are rounding."""

_EQUAL = 1e-9
"""Two fitted learning rates are equal if their relative difference is no larger."""

_RECURRENT = ("lstm", "simple_rnn", "bidirectional_lstm", "bidirectional_simple_rnn")


def _share(of: Array, what: Array) -> float:
    """How much of one vector, (n,), there is in another, (n,), which is not zero."""
    return float(of @ what / (what @ what))


def _solved(columns: Sequence[Array], target: Array) -> list[float]:
    """What columns must be multiplied by to add up to a target, in the sense of least squares.

    Args:
        columns: Each (n,); they may differ by many orders of magnitude.
        target: (n,).
    """
    scales = [float(np.abs(column).max()) or 1.0 for column in columns]
    matrix = np.stack([c / s for c, s in zip(columns, scales, strict=True)], axis=1)
    factors = np.linalg.lstsq(matrix, target, rcond=None)[0]
    return [float(x / s) for x, s in zip(factors, scales, strict=True)]


def _equal(keras: float, torch: float, tolerance: float = _EQUAL) -> bool:
    """Whether two numbers are equal, relative to the second."""
    return abs(keras / torch - 1.0) <= tolerance


@explains(7, "lstm-single-bias", kinds=_RECURRENT, step=1)
def _single_bias(e: Evidence) -> bool:
    """The bias of a recurrent layer moves twice as far in Torch."""
    start = f"step/1/weights/{e.check.layer}/"
    for key in e.keras:
        if key.startswith(start) and key.endswith("bias"):
            before, after = e.both(key.replace("step/1/weights", "initial", 1)), e.both(key)
            keras, torch = (b - a for b, a in zip(before, after, strict=True))
            if keras.any() and e.close(before[1] - 2 * keras, before[1] - torch):
                return True
    return False


@explains(7, "sparse-gradients", kinds=["embedding"], step=1)
def _sparse_gradients(e: Evidence) -> bool:
    """Keras' second moment of an embedding is the sum of the squares of every occurrence."""
    name = e.check.layer
    tokens = np.asarray(e.keras[f"training/{name}/input"]).ravel().astype(int)
    each = e.both(f"backward/{name}/output")[0].reshape(len(tokens), -1)
    keras, torch = e.both(f"step/1/slots/{name}/embeddings/second_moment")
    dense = e.both(f"gradient/{name}/embeddings")[0] ** 2
    squares = np.zeros_like(keras)
    np.add.at(squares, tokens, each**2)
    kept = _share(torch.ravel(), dense.ravel())
    largest = 1e-6 * float(np.abs(keras).max())
    return all(
        np.abs(predicted * kept - actual).max() <= largest
        for predicted, actual in ((squares, keras), (dense, torch))
    )


@dataclass(frozen=True)
class _Step:
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


@explains(7, step=1)
def _first_step(e: Evidence) -> Sequence[str]:
    """Learning rate, epsilon and weight decay, as far as Torch's differ from Keras'."""
    embeddings = {layer["name"] for layer in e.keras.layers if layer["kind"] == "embedding"}
    gradients = [key for key in e.keras if key.startswith("gradient/") and key in e.torch]
    names = [
        name
        for name in (key.removeprefix("gradient/") for key in gradients)
        # Keras sums their squares in another way.
        if name.rpartition("/")[0] not in embeddings and f"step/1/weights/{name}" in e.keras
    ]
    keras, torch = (_step(trace, names) for trace in (e.keras, e.torch))
    slots = keras.slots.keys() & torch.slots.keys()
    if {"first_moment", "second_moment"} <= slots:
        return _adam(e, keras, torch)
    return _rmsprop(e, keras, torch) if "second_moment" in slots else _sgd(keras, torch)


def _step(trace: Trace, names: Sequence[str]) -> _Step:
    def joined(start: str, end: str = "") -> Array:
        return np.concatenate([double(trace[f"{start}/{name}{end}"]).ravel() for name in names])

    weights = joined("initial")
    slots = {
        slot: joined("step/1/slots", f"/{slot}")
        for slot in ("velocity", "first_moment", "second_moment")
        if all(f"step/1/slots/{name}/{slot}" in trace for name in names)
    }
    return _Step(weights, weights - joined("step/1/weights"), joined("gradient"), slots)


def _sgd(keras: _Step, torch: _Step) -> Sequence[str]:
    """Coupled weight decay, Torch's default rate, or Keras' rounded by a schedule."""
    if decayed := _coupled("velocity", keras, torch):
        return decayed
    # The first velocity is minus the learning rate times the gradient.
    ours, theirs = (
        _share(-side.slots["velocity"] if "velocity" in side.slots else side.moved, side.gradient)
        for side in (keras, torch)
    )
    # Zero: a warm-up, or another copy's parameters.
    if theirs == 0.0 or _equal(ours, theirs):
        return ()
    if abs(theirs / _SGD_RATE - 1.0) < 1e-6 < abs(theirs / ours - 1.0):
        return ("sgd-default-learning-rate",)
    return ("learning-rate-schedule",) if _equal(ours, float(np.float32(theirs))) else ()


def _coupled(slot: str, keras: _Step, torch: _Step) -> Sequence[str]:
    """Torch's slot has a share of the weights in it, Keras' has not, and its weights shrink."""
    if slot not in keras.slots or slot not in torch.slots:
        return ()
    apart = torch.slots[slot] - keras.slots[slot]
    # Biases may be spared: what they differ by is rounding.
    moved = np.abs(apart) > _ROUNDING * np.abs(apart).max(initial=0.0)
    part = _share(apart[moved], torch.weights[moved])
    error = np.abs(apart - part * torch.weights)[moved].max(initial=0.0)
    fits = moved.any() and error <= 1e-6 * np.abs(apart).max()
    if fits and slot == "velocity":
        decoupled = _share(keras.moved + keras.slots[slot], keras.weights)
        fits = abs(decoupled + part) <= 1e-6 * abs(part)
    return ("weight-decay",) if fits else ()


def _adam(e: Evidence, keras: _Step, torch: _Step) -> Sequence[str]:
    beta_1 = 1.0 - _share(keras.slots["first_moment"], keras.gradient)
    beta_2 = 1.0 - _share(keras.slots["second_moment"], keras.gradient**2)
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
    if torch == 0.0 or _equal(keras, torch):
        return ()
    if _equal(keras / factor, torch):
        return ("adam-beta-float32",)
    scheduled = float(np.float32(torch))
    if _equal(keras / factor, scheduled):
        return ("adam-beta-float32", "learning-rate-schedule")
    return ("learning-rate-schedule",) if _equal(keras, scheduled) else ()


def _default_decay(keras: _Fit, torch: _Fit) -> Sequence[str]:
    decays = [fit.shrunk / fit.rate for fit in (keras, torch)]
    fits = all(_equal(d, k, 1e-5) for d, k in zip(decays, _ADAMW_DECAYS, strict=True))
    return ("optimizer-defaults",) if fits else ()


def _fit_adam(e: Evidence, side: _Step, beta_1: float, beta_2: float) -> _Fit | None:
    """`moved · (size + epsilon) = rate · direction + shrunk · weights · (size + epsilon)`."""
    direction = side.slots["first_moment"] / (1.0 - beta_1)
    size = np.sqrt(side.slots["second_moment"] / (1.0 - beta_2))
    columns = [direction, side.weights * size, side.weights, -side.moved]
    rate, shrunk, _, epsilon = _solved(columns, side.moved * size)
    predicted = rate * direction / (size + epsilon) + shrunk * side.weights
    return _checked(e, side, np.nan_to_num(predicted), (rate, epsilon, shrunk))


def _rmsprop(e: Evidence, keras: _Step, torch: _Step) -> Sequence[str]:
    ours = _fit_inside(e, keras)
    theirs = _fit_outside(e, torch) or _fit_inside(e, torch)
    if ours is None or theirs is None:
        return ()
    if _equal(theirs.rate, ours.rate, 1e-6):
        return ("rmsprop-epsilon",)
    default = _equal(theirs.rate, _RMSPROP_RATE, 1e-6)
    return ("optimizer-defaults", "rmsprop-epsilon") if default else ()


def _fit_inside(e: Evidence, side: _Step) -> _Fit | None:
    """Epsilon inside the root: `moved² · average = rate² · gradient² − epsilon · moved²`."""
    average = side.slots["second_moment"]
    squares = [side.gradient**2, -(side.moved**2)]
    rate, epsilon = _solved(squares, side.moved**2 * average)
    predicted = np.sqrt(rate) * side.gradient / np.sqrt(average + epsilon)
    return _checked(e, side, predicted, (float(np.sqrt(rate)), epsilon, 0.0))


def _fit_outside(e: Evidence, side: _Step) -> _Fit | None:
    """Epsilon beside the root: `moved · √average = rate · gradient − epsilon · moved`."""
    size = np.sqrt(side.slots["second_moment"])
    rate, epsilon = _solved([side.gradient, -side.moved], side.moved * size)
    predicted = np.nan_to_num(rate * side.gradient / (size + epsilon))
    return _checked(e, side, predicted, (rate, epsilon, 0.0))


def _checked(
    e: Evidence, side: _Step, predicted: Array, fitted: tuple[float, float, float]
) -> _Fit | None:
    """The fit, if what it predicts holds to the rounding of the weights."""
    error = float(np.abs(predicted - side.moved).max())
    weights, moved = (float(np.abs(array).max()) for array in (side.weights, side.moved))
    return _Fit(*fitted, error) if error <= 8.0 * e.unit * weights + 1e-7 * moved else None


@explains(7, "sgd-momentum-float32", step=2)
def _momentum_float32(e: Evidence) -> bool:
    """From the second step on, velocities differ by a rounding error times the one before."""
    keys = [key for key in e.keras if key.startswith("step/2/slots/") and key.endswith("/velocity")]
    apart = np.concatenate([np.subtract(*e.both(key)).ravel() for key in keys])
    before = np.concatenate([e.both(key.replace("step/2", "step/1"))[0].ravel() for key in keys])
    part = _share(apart, before)
    fits = np.abs(apart - part * before).max() <= 1e-2 * np.abs(apart).max()
    return bool(fits and abs(part) <= np.finfo(np.float32).eps / 2)


@explains(7, "learning-rate-schedule", step=2)
def _schedule(e: Evidence) -> bool:
    """The second step differs from Keras' by its rate alone; the first did not.

    With momentum a step is `kept · first + rate · slope`: the first step's share is not scaled.
    """
    keys = [key for key in e.keras if key.startswith("step/2/weights/")]

    def at(start: str) -> Array:
        pairs = (e.both(key.replace("step/2/weights", start, 1)) for key in keys)
        return np.concatenate([np.stack(pair).reshape(2, -1) for pair in pairs], axis=1)

    weights = [at(start) for start in ("initial", "step/1/weights", "step/2/weights")]
    first, (keras, torch) = (weights[0] - weights[1])[0], weights[1] - weights[2]
    rate, kept = _solved([keras, first], torch)
    error = np.abs(rate * keras + kept * first - torch).max()
    holds = error <= 16 * e.unit * np.abs(weights[0]).max() + 1e-9 * np.abs(torch).max()
    return bool(holds) and abs(rate - 1.0) > 1e-10 and -1e-6 <= kept / (1.0 - rate) < 1.0


@explains(8, step=1)
def _moving_statistics(e: Evidence) -> Sequence[str]:
    """A decay fitted to the moving mean, and the variance tracked with ÷ n or ÷ (n − 1)."""
    name = e.layer["name"]
    update = statistics_update(e.torch, name)
    decay, expected = update.decay, statistics_update(e.keras, name).decay
    actual = np.asarray(e.torch[f"step/1/statistics/{name}/moving_variance"])
    predicted = {u: update.variance(decay, unbiased=u) for u in (False, True)}
    # In float32 both may hold to rounding: the better one counts.
    unbiased = min(predicted, key=lambda u: e.misfit(predicted[u], actual))
    if not e.close(predicted[unbiased], actual):
        return ()
    names = ("bn-biased-variance",) if unbiased else ()
    equal = 1e-4 if e.single else 1e-6
    if abs(decay - expected) <= equal:
        return names
    if abs(decay - (1.0 - expected)) <= equal:
        return ("bn-momentum-copied", *names)
    # Updated twice, or never: bugs, and no convention.
    known_bug = min(abs(decay - expected**2), abs(decay - 1.0)) <= equal
    return () if known_bug else ("bn-momentum", *names)


@explains(10, "eval-mode")
def _evaluated_while_training(e: Evidence) -> bool:
    """Moving statistics move although weights do not, and Torch's test curve is the batch's."""
    moving = e.check.path.endswith(("/moving_mean", "/moving_variance"))
    tracked = e.curve("torch", "test_accuracy")
    batch = e.curve("torch", "batch_statistics_test_accuracy")
    return moving and np.array_equal(tracked, batch, equal_nan=True)


@explains(10, "epoch-metrics")
def _epoch_metrics(e: Evidence) -> bool:
    """The mean of the steps' losses, each step weighing the same whatever its size.

    It differs from the mean over samples by the short batch's deviation, times the weight that the
    short batch gets too much. A loss that deviates by more than three times itself is another bug.
    """
    if e.check.path != "running_train_loss":
        return False
    samples = (e.plans["keras"][0] >= 0).sum(axis=1)
    excess = abs(1.0 / len(samples) - samples[-1] / samples.sum())
    keras, torch = (e.curve(framework, "running_train_loss") for framework in ("keras", "torch"))
    return bool((np.abs(torch - keras) <= 3.0 * excess * keras).all())
