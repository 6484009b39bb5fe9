"""The ladder: eleven rungs, from structure to outcome, on each of which two sides must agree.

A rung is a list of checks in the order in which things are computed, so that the first one that
fails is the first thing that differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.gaps import Gap, gap
from compare.traces import Layer, Trace

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


@dataclass
class Ladder:
    """All checks of one pair, in order.

    Attributes:
        tolerances: Rung → tolerance.
        checks: Filled as rungs are climbed.
        climbed: Rungs that were gone through, also those without anything to compare.
    """

    tolerances: Mapping[int, float]
    checks: list[Check] = field(default_factory=list)
    climbed: list[int] = field(default_factory=list)

    def add(self, rung: int, path: str, layer: str, found: Gap, step: int | None = None) -> bool:
        """Note one comparison; returns whether it passed."""
        check = Check(rung, path, layer, step, found, self.tolerances[rung])
        self.checks.append(check)
        return check.passed

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
        worst = max(checks, key=_badness)
        step = "" if worst.step is None else f"{_unit(rung)} {worst.step}: "
        return RungResult(
            rung=rung,
            rung_name=RUNGS[rung],
            passed=all(check.passed for check in checks),
            max_abs=worst.gap.max_abs,
            max_rel=max((c.gap.max_rel for c in checks), key=_nan_last),
            where=f"{step}{worst.path} {worst.gap.where()}",
            allowed=worst.allowed,
            required=worst.gap.required,
        )


def _unit(rung: int) -> str:
    return "epoch" if rung in (2, 10, 11) else "step"


def _nan_last(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _badness(check: Check) -> float:
    return _nan_last(check.gap.required)


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
    ladder.climbed.append(5)
    if "step/1/loss" in keras or "step/1/loss" in torch:
        ladder.add(5, "loss", "loss", _found(keras, torch, "step/1/loss"), 1)
    _backward(ladder, keras, torch, order)
    for step in range(1, max(keras.steps, torch.steps) + 1):
        _optimizer(ladder, keras, torch, step, order)
        _same_keys(ladder, 8, keras, torch, f"step/{step}/statistics", step, order=order)
    _forward(ladder, 9, keras, torch, "evaluation")
    _output(ladder, keras, torch, order)


def _data(ladder: Ladder, keras: Trace, torch: Trace) -> None:
    ladder.climbed.append(2)
    for step in range(1, max(keras.steps, torch.steps) + 1):
        for part in ("x", "y"):
            key = f"step/{step}/data/{part}"
            if key not in torch and "error" in torch:
                continue  # Torch raised before: that is told on the rung where it did.
            if key in keras or key in torch:
                # (n,) and (n, 1) are the same targets.
                ladder.add(2, key, "data", _found(keras, torch, key, np.squeeze), step)


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
    ran = [key.split("/", 1)[1] for key in keras if key.startswith(f"{mode}/")]
    order = [name.removesuffix("/output") for name in ran if name.endswith("/output")]
    before = "the input"
    for name in order:
        between = f"between {before} and {name}"
        ladder.add(rung, *_entry(keras, torch, f"{mode}/{name}/input", between), step)
        ladder.add(rung, *_entry(keras, torch, f"{mode}/{name}/output", name), step)
        before = name


def _backward(ladder: Ladder, keras: Trace, torch: Trace, order: Sequence[str]) -> None:
    """Gradients in the order in which they are computed, from the loss back to the input.

    A layer is blamed when the gradient that reaches its output agrees, and what it makes of it
    does not. On the way only what both sides know is compared: a tensor may be one side's alone.
    """
    ladder.climbed.append(6)
    ran = [key.split("/", 1)[1].removesuffix("/output") for key in keras if _is_output(key)]
    left = _layers(keras, torch, "gradient", order)
    after = "the loss"

    def tensor(name: str, blame: str) -> None:
        if (key := f"backward/{name}") in keras and key in torch:
            ladder.add(6, *_entry(keras, torch, key, blame), 1)

    for name in ran[::-1]:
        tensor(f"{name}/output", f"between {name} and {after}")
        for key in [key for key, layer in left.items() if layer == name]:
            ladder.add(6, *_entry(keras, torch, key, left.pop(key)), 1)
        tensor(f"{name}/input", name)
        after = name
    for key, layer in left.items():
        ladder.add(6, *_entry(keras, torch, key, layer), 1)


def _is_output(key: str) -> bool:
    return key.startswith("training/") and key.endswith("/output")


def _entry(keras: Trace, torch: Trace, key: str, blame: str) -> tuple[str, str, Gap]:
    return key, blame, _found(keras, torch, key)


def _optimizer(ladder: Ladder, keras: Trace, torch: Trace, step: int, order: Sequence[str]) -> None:
    """Rung 7: parameters and slots; when every trained layer differs, blame the optimizer."""
    fresh = Ladder(ladder.tolerances)
    for group in ("weights", "slots"):
        _same_keys(fresh, 7, keras, torch, f"step/{step}/{group}", step, order=order)
    failing = {check.layer for check in fresh.checks if not check.passed}
    trained = {layer["name"] for layer in keras.layers if layer["trained"]}
    everywhere = failing >= trained and len(trained) > 1
    ladder.climbed.append(7)
    for check in fresh.checks:
        layer = "optimizer" if everywhere else check.layer
        ladder.add(7, check.path, layer, check.gap, step)


def _output(ladder: Ladder, keras: Trace, torch: Trace, order: Sequence[str]) -> None:
    """The model's output, at the level that both sides have: logits where one returns logits."""
    raw = [side.get(f"evaluation/{order[-1]}/output") if order else None for side in (keras, torch)]
    if "evaluation/output" not in torch:
        ladder.add(9, "evaluation/output", "output", _found(keras, torch, "evaluation/output"))
        return
    outputs = [keras["evaluation/output"], torch["evaluation/output"]]
    activated = [
        r is None or r.shape != o.shape or not np.array_equal(r, o, equal_nan=True)
        for r, o in zip(raw, outputs, strict=True)
    ]
    if activated[0] != activated[1] and all(r is not None for r in raw):
        outputs = [r for r in raw if r is not None]
    ladder.add(9, "evaluation/output", "output", gap(*outputs))


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
        fresh = Ladder(ladder.tolerances)
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
