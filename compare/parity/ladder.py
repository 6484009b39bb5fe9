"""The ladder: eleven rungs, from structure to outcome, on each of which two sides must agree.

A rung is a list of checks in the order in which things are computed, so that the first one that
fails is the first thing that differs. What is checked on each is in `compare.parity.ladder`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from compare.parity.tolerances import Gap, gap
from compare.study.records import json_number
from compare.trace import Layer, Trace

RUNGS: Mapping[int, str] = {
    1: "structure",
    2: "data plan",
    3: "initial weights",
    4: "forward, training",
    5: "loss",
    6: "gradients",
    7: "optimizer steps",
    8: "moving statistics",
    9: "forward, evaluation",
    10: "trajectory",
    11: "outcome",
}

FORWARD = 4
"""The first rung on which anything is computed, layer by layer."""


@dataclass(frozen=True)
class Check:
    """One comparison on one rung.

    Attributes:
        rung: Number of the rung, 1 … 11.
        path: What was compared: a name within the trace, or of a quantity.
        layer: Who is to blame if it fails.
        step: Step, or epoch on rungs 2, 10 and 11, counted from 1; None where there is none.
        gap: How far the two sides are apart.
        allowed: The tolerance, to be multiplied by the scale.
    """

    rung: int
    path: str
    layer: str
    step: int | None
    gap: Gap
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the two sides agree here."""
        return self.gap.within(self.allowed)


@dataclass(frozen=True)
class Divergence:
    """The first thing that differs.

    Attributes:
        rung: Number of the rung.
        rung_name: Its name.
        step: Step or epoch, counted from 1; None where there is none.
        layer: The layer whose inputs agree and whose output does not, or `between A and B`,
            `loss`, `optimizer`, `data` …
        explained_by: Names of the conventions that explain it; empty where none is known to.
    """

    rung: int
    rung_name: str
    step: int | None
    layer: str
    explained_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class RungResult:
    """A rung summed up by its worst check.

    `max_abs`, `max_rel` and `required` are None where nothing was compared; `where` is the path of
    the worst check, with index and values.
    """

    rung: int
    rung_name: str
    passed: bool
    max_abs: float | None
    max_rel: float | None
    where: str | None
    allowed: float
    required: float | None

    @property
    def unit(self) -> str:
        """What is counted on this rung."""
        return _unit(self.rung)

    def to_json(self) -> dict[str, Any]:
        """JSON types; what is not a finite number is null, and explained in `where`."""
        numbers = {name: json_number(getattr(self, name)) for name in _NUMBERS}
        return {**asdict(self), **numbers}


_NUMBERS = ("max_abs", "max_rel", "required")


@dataclass
class Ladder:
    """All checks of one pair, in order.

    Attributes:
        tolerances: Rung → tolerance.
        wider: Path of a check → tolerance, where that is larger than the rung's.
        checks: Filled as rungs are climbed.
        climbed: Rungs that were gone through, also those without anything to compare.
        notes: What was put right before it was compared.
    """

    tolerances: Mapping[int, float]
    wider: Mapping[str, float] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    climbed: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, rung: int, path: str, layer: str, found: Gap, step: int | None = None) -> bool:
        """Note one comparison; returns whether it passed."""
        allowed = max(self.tolerances[rung], self.wider.get(path, 0.0))
        check = Check(rung, path, layer, step, found, allowed)
        self.checks.append(check)
        return check.passed

    def note(self, text: str) -> None:
        """Note something, once."""
        if text not in self.notes:
            self.notes.append(text)

    def fresh(self) -> Ladder:
        """An empty ladder with the same tolerances."""
        return Ladder(self.tolerances, self.wider)

    @property
    def passed(self) -> bool:
        """Whether every check passed, and at least one was made."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def first_failure(self) -> Check | None:
        """The first check that failed, on the lowest rung."""
        failed = (check for check in self.checks if not check.passed)
        return min(failed, key=lambda check: check.rung, default=None)

    def results(self) -> list[RungResult]:
        """One result per rung climbed, in order."""
        return [self._result(rung) for rung in sorted(set(self.climbed))]

    def _result(self, rung: int) -> RungResult:
        checks = [check for check in self.checks if check.rung == rung]
        if not checks:
            return RungResult(
                rung, RUNGS[rung], True, None, None, None, self.tolerances[rung], None
            )
        worst = max(checks, key=badness)
        step = "" if worst.step is None else f"{_unit(rung)} {worst.step}: "
        return RungResult(
            rung=rung,
            rung_name=RUNGS[rung],
            passed=all(check.passed for check in checks),
            max_abs=worst.gap.max_abs,
            max_rel=max((c.gap.max_rel for c in checks), key=nan_last),
            where=f"{step}{worst.path} {worst.gap.where()}",
            allowed=worst.allowed,
            required=worst.gap.required,
        )


def _unit(rung: int) -> str:
    return "epoch" if rung in (2, 10, 11) else "step"


def nan_last(value: float) -> float:
    """A key for `max` by which what is not a number is the largest."""
    return math.inf if math.isnan(value) else value


def badness(check: Check) -> tuple[float, float]:
    """How far above its own tolerance a check is; a tolerance of zero knows no degrees."""
    required = nan_last(check.gap.required)
    if check.allowed > 0.0:
        return required / check.allowed, required
    return (math.inf if required > 0.0 else 0.0), required


AS_LOGITS = "One returns logits, the other probabilities: compared as logits."

EQUAL = Gap(0.0, 0.0, (), math.nan, math.nan, 1.0)


def unequal(note: str) -> Gap:
    """The gap between things that are not numbers, and differ."""
    return Gap(math.inf, math.inf, (), math.nan, math.nan, 1.0, note)


def structure(ladder: Ladder, keras: Sequence[Layer], torch: Sequence[Layer]) -> None:
    """Rung 1: the same weighted layers in the same order, with the same tensors and counts."""
    ladder.climbed.append(1)
    names = [layer["name"] for layer in torch]
    for layer in keras:
        if layer["name"] not in names:
            note = f"{layer['kind']} in Keras, no partner in Torch"
            ladder.add(1, layer["name"], layer["name"], unequal(note))
    by_name = {layer["name"]: layer for layer in keras}
    for layer in torch:
        ours = by_name.get(layer["name"])
        note = "" if ours is not None else f"{layer['kind']} in Torch, no partner in Keras"
        if ours is not None:
            parts = ("kind", "tensors", "trained")
            differing = [p for p in parts if ours[p] != layer[p]]
            note = "; ".join(f"{p}: {ours[p]} in Keras, {layer[p]} in Torch" for p in differing)
        ladder.add(1, layer["name"], layer["name"], unequal(note) if note else EQUAL)


def climb(ladder: Ladder, keras: Trace, torch: Trace) -> None:
    """Rungs 1 to 9 over two traces; Torch's layers have been given their partners' names."""
    structure(ladder, keras.layers, torch.layers)
    order = [layer["name"] for layer in keras.layers]
    _data(ladder, keras, torch)
    _same_keys(ladder, 3, keras, torch, "initial", None)
    _forward(ladder, 4, keras, torch, "training")
    _output(ladder, 4, keras, torch, "step/1/prediction")
    ladder.climbed.append(5)
    if "step/1/loss" in keras or "step/1/loss" in torch:
        ladder.add(5, "step/1/loss", "loss", _found(keras, torch, "step/1/loss"), 1)
    _backward(ladder, keras, torch, order)
    for step in range(1, max(keras.steps, torch.steps) + 1):
        _optimizer(ladder, keras, torch, step, order)
        _same_keys(ladder, 8, keras, torch, f"step/{step}/statistics", step, order=order)
    _forward(ladder, 9, keras, torch, "evaluation")
    _output(ladder, 9, keras, torch, "prediction")


def _data(ladder: Ladder, keras: Trace, torch: Trace) -> None:
    ladder.climbed.append(2)
    for step in range(1, max(keras.steps, torch.steps) + 1):
        for part in ("x", "y"):
            for key in _several(f"step/{step}/data/{part}", keras, torch):
                if key not in torch and "error" in torch:
                    continue  # Torch raised before: that is told on the rung where it did.
                # (n,) and (n, 1) are the same targets.
                ladder.add(2, key, "data", _found(keras, torch, key, np.squeeze), step)


def _several(name: str, keras: Trace, torch: Trace) -> list[str]:
    """The names of an array, or of the parts of a structure of arrays."""
    every = dict.fromkeys([*keras, *torch])
    return [key for key in every if key == name or key.startswith(f"{name}/")]


def _same_keys(
    ladder: Ladder,
    rung: int,
    keras: Trace,
    torch: Trace,
    prefix: str,
    step: int | None,
    *,
    order: Sequence[str] | None = None,
) -> None:
    """Compare everything under a prefix, layers in the order given; what one side lacks fails."""
    ladder.climbed.append(rung)
    order = [layer["name"] for layer in keras.layers] if order is None else order
    layers = _layers(keras, torch, prefix, order)

    def position(key: str) -> int:
        return order.index(layers[key]) if layers[key] in order else len(order)

    for key in sorted(layers, key=position):
        ladder.add(rung, key, layers[key], _found(keras, torch, key), step)


def _layers(keras: Trace, torch: Trace, prefix: str, order: Sequence[str]) -> dict[str, str]:
    """The layer of every name under a prefix, of either side."""
    found = {}
    for key in dict.fromkeys([*keras, *torch]):
        if key.startswith(f"{prefix}/"):
            inner = key.removeprefix(f"{prefix}/")
            fitting = [name for name in order if inner.startswith(f"{name}/")]
            found[key] = max(fitting, key=len, default=inner.partition("/")[0])
    return found


def _found(
    keras: Trace,
    torch: Trace,
    key: str,
    form: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray,
) -> Gap:
    if key not in torch:
        reason = f": {torch['error']}" if "error" in torch else ""
        return unequal(f"missing in Torch{reason}")
    if key not in keras:
        return unequal("missing in Keras")
    return gap(form(keras[key]), form(torch[key]))


def _forward(ladder: Ladder, rung: int, keras: Trace, torch: Trace, mode: str) -> None:
    """Inputs and outputs in the order of execution.

    A layer is blamed only when its inputs agree and its output does not; when its inputs differ
    although every layer before agreed, what lies between the two is.
    """
    ladder.climbed.append(rung)
    step = 1 if rung == 4 else None
    before = "the input"
    for name, ends in _passes(keras, mode).items():
        for end in ends:
            key = f"{mode}/{name}/{end}"
            # Of a layer in two parts, what passes between them may not be known: blame the whole.
            whole = name if "input" in ends else name.rpartition("/")[0] or name
            blame = whole if end == "output" else f"between {before} and {name}"
            # One side may give an attention its key and its value in one.
            if end in ("input", "output") or key in torch:
                ladder.add(rung, *_entry(keras, torch, key, blame), step)
        before = name


def _passes(trace: Trace, mode: str) -> dict[str, list[str]]:
    """Layer → what of it was recorded, in the order of execution: input, …, output."""
    found: dict[str, list[str]] = {}
    for key in trace:
        if key.startswith(f"{mode}/"):
            name, _, end = key.removeprefix(f"{mode}/").rpartition("/")
            found.setdefault(name, []).append(end)
    return {name: sorted(ends, key=_end) for name, ends in found.items()}


def _end(name: str) -> bool:
    return name == "output"


def _backward(ladder: Ladder, keras: Trace, torch: Trace, order: Sequence[str]) -> None:
    """Gradients in the order in which they are computed, from the loss back to the input.

    A layer is blamed when the gradient that reaches its output agrees, and what it makes of it
    does not. On the way only what both sides know is compared: a tensor may be one side's alone.
    """
    ladder.climbed.append(6)
    passes = _passes(keras, "training")
    left = _layers(keras, torch, "gradient", order)
    after = "the loss"

    def tensor(name: str, blame: str) -> None:
        if (key := f"backward/{name}") in keras and key in torch:
            ladder.add(6, *_entry(keras, torch, key, blame), 1)

    for name in list(passes)[::-1]:
        tensor(f"{name}/output", f"between {name} and {after}")
        for key in [key for key, layer in left.items() if layer == name]:
            ladder.add(6, *_entry(keras, torch, key, left.pop(key)), 1)
        for end in passes[name]:
            if end != "output":
                tensor(f"{name}/{end}", name)
        after = name
    for key, layer in left.items():
        ladder.add(6, *_entry(keras, torch, key, layer), 1)


def _entry(keras: Trace, torch: Trace, key: str, blame: str) -> tuple[str, str, Gap]:
    return key, blame, _found(keras, torch, key)


def _optimizer(ladder: Ladder, keras: Trace, torch: Trace, step: int, order: Sequence[str]) -> None:
    """Rung 7: parameters and slots; when every trained layer differs, blame the optimizer."""
    fresh = ladder.fresh()
    for group in ("weights", "slots"):
        _same_keys(fresh, 7, keras, torch, f"step/{step}/{group}", step, order=order)
    failing = {check.layer for check in fresh.checks if not check.passed}
    trained = {layer["name"] for layer in keras.layers if layer["trained"]}
    everywhere = failing >= trained and len(trained) > 1
    ladder.climbed.append(7)
    for check in fresh.checks:
        layer = "optimizer" if everywhere else check.layer
        ladder.add(7, check.path, layer, check.gap, step)


def _output(ladder: Ladder, rung: int, keras: Trace, torch: Trace, name: str) -> None:
    """The model's outputs, at the level that both sides have: logits where one returns logits."""
    mode, step = ("training", 1) if rung == 4 else ("evaluation", None)
    for key in _several(name, keras, torch):
        compared = key
        if key in keras and key in torch:
            compared = _logits(keras, torch, key, mode) or _logits(torch, keras, key, mode) or key
        if compared != key:
            ladder.note(AS_LOGITS)
        ladder.add(rung, key, "output", _found(keras, torch, compared), step)


def _logits(one: Trace, other: Trace, key: str, mode: str) -> str | None:
    """The output of a layer that is the model's on one side, and its logits on the other."""
    mine, theirs = np.asarray(one[key]), np.asarray(other[key])
    for name in reversed(_passes(one, mode)):
        end = f"{mode}/{name}/output"
        if end in one and end in other and np.array_equal(one[end], mine, equal_nan=True):
            probabilities = (special.expit(other[end]), special.softmax(other[end], axis=-1))
            # Which activation it is shows in the first digits.
            fits = (p.shape == theirs.shape and np.allclose(p, theirs) for p in probabilities)
            return end if any(fits) else None
    return None


def trajectory(
    ladder: Ladder,
    keras: Mapping[str, NDArray[Any]],
    torch: Mapping[str, NDArray[Any]],
) -> None:
    """Rung 10: weights, moving statistics and losses after every epoch.

    Args:
        ladder: Where the checks go.
        keras: Name → array, epochs along axis 0; what is no tensor of a layer may begin with
            `prediction/`, and is then blamed on that alone.
        torch: The same of the other side.
    """
    ladder.climbed.append(10)
    names = list(dict.fromkeys([*keras, *torch]))
    layers = {name.rpartition("/")[0] for name in names} - {"", "prediction"}
    epochs = max((len(a) for a in (*keras.values(), *torch.values())), default=0)
    for epoch in range(epochs):
        fresh = ladder.fresh()
        for name in names:
            sides = [side.get(name, np.empty(0)) for side in (keras, torch)]
            rows = [side[epoch] if epoch < len(side) else np.empty(0) for side in sides]
            fresh.add(10, name, name.rpartition("/")[0] or name, gap(*rows), epoch + 1)
        failing = {check.layer for check in fresh.checks if not check.passed}
        everywhere = len(failing & layers) > 1
        for check in fresh.checks:
            layer = "every layer" if everywhere else check.layer
            ladder.add(10, check.path, layer, check.gap, epoch + 1)


def outcome(ladder: Ladder, keras: Mapping[str, Any], torch: Mapping[str, Any]) -> None:
    """Rung 11: predictions within tolerance, counts and epochs to the target equal.

    Args:
        ladder: Where the checks go.
        keras: Name → array of predictions, or a list of whole numbers (None for never).
        torch: The same of the other side.
    """
    ladder.climbed.append(11)
    for name, ours in keras.items():
        theirs = torch[name]
        if isinstance(ours, np.ndarray):
            ladder.add(11, name, "prediction", gap(ours, theirs))
            continue
        for step, (a, b) in enumerate(zip_longest(ours, theirs, fillvalue="nothing"), start=1):
            if a != b:
                ladder.add(11, name, "prediction", unequal(f"{a} in Keras, {b} in Torch"), step)
                break
        else:
            ladder.add(11, name, "prediction", EQUAL)
