"""The ladder: eleven rungs, from structure to outcome, on each of which two sides must agree.

A rung is a list of checks in the order in which things are computed, so that the first one that
fails is the first thing that differs.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from compare.conventions import Numbers
from compare.parity.tolerances import EQUAL, Gap, gap, unequal
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

OPTIMIZER = 7
"""The rung on which optimizers move the weights."""

MOVING_STATISTICS = 8
"""The rung of moving statistics."""


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
        numbers: Name of a convention → what fills its remedy, as far as it is known.
        runs: Layers without weights that run where the blame lies between two layers.
        settings: Differences without a name that account for it, in words.
        parts: Where nothing accounts for the whole: convention or setting → its share of it.
        values: Name of a convention → the values of both sides that account for a step, in words.
    """

    rung: int
    rung_name: str
    step: int | None
    layer: str
    explained_by: tuple[str, ...] = ()
    numbers: Mapping[str, Numbers] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)


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
        numbers = ("max_abs", "max_rel", "required")
        return {**asdict(self), **{name: json_number(getattr(self, name)) for name in numbers}}


@dataclass
class Ladder:
    """All checks of one pair, in order.

    Attributes:
        tolerances: Rung → tolerance.
        wider: Path of a check → tolerance, where that is larger than the rung's.
        remaining: Path of a check → what is left of its gap, where an accepted difference has been
            predicted.
        checks: Filled as rungs are climbed.
        climbed: Rungs that were gone through, also those without anything to compare.
        notes: What was put right before it was compared.
    """

    tolerances: Mapping[int, float]
    wider: Mapping[str, float] = field(default_factory=dict)
    remaining: Mapping[str, Gap] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    climbed: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, rung: int, path: str, layer: str, gap: Gap, step: int | None = None) -> None:
        """Note one comparison."""
        left = self.remaining.get(path, gap)
        self.checks.append(Check(rung, path, layer, step, left, self.allowed(rung, path)))

    def allowed(self, rung: int, path: str) -> float:
        """The tolerance of a check."""
        return max(self.tolerances[rung], self.wider.get(path, 0.0))

    def note(self, text: str) -> None:
        """Note something, once."""
        if text not in self.notes:
            self.notes.append(text)

    def fresh(self) -> Ladder:
        """An empty ladder with the same tolerances."""
        return Ladder(self.tolerances, self.wider, self.remaining)

    def failing(self) -> set[str]:
        """Who is blamed by any check."""
        return {check.layer for check in self.checks if not check.passed}

    def take(self, other: Ladder, blamed: str | None) -> None:
        """Note the checks of another ladder, blaming one thing for all of them where given."""
        for check in other.checks:
            self.add(check.rung, check.path, blamed or check.layer, check.gap, check.step)

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
        name, tolerance = RUNGS[rung], self.tolerances[rung]
        if not checks:
            return RungResult(rung, name, True, None, None, None, tolerance, None)
        worst = max(checks, key=badness)
        step = "" if worst.step is None else f"{_unit(rung)} {worst.step}: "
        return RungResult(
            rung=rung,
            rung_name=name,
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


OWN_SLOTS = "Torch's optimizer is one of the user's own: what only one side keeps is not compared."
AS_LOGITS = "One returns logits, the other probabilities: compared as logits."


def structure(ladder: Ladder, keras: Sequence[Layer], torch: Sequence[Layer]) -> None:
    """Rung 1: the same weighted layers in the same order, with the same tensors and counts."""
    ours, theirs = ({layer["name"]: layer for layer in side} for side in (keras, torch))
    for name, layer in ours.items():
        if name not in theirs:
            ladder.add(1, name, name, unequal(f"{layer['kind']} in Keras, no partner in Torch"))
    for name, layer in theirs.items():
        if name not in ours:
            note = f"{layer['kind']} in Torch, no partner in Keras"
        else:
            note = "; ".join(
                f"{part}: {ours[name][part]} in Keras, {layer[part]} in Torch"
                for part in ("kind", "tensors", "trained")
                if ours[name][part] != layer[part]
            )
        ladder.add(1, name, name, unequal(note) if note else EQUAL)


def climb(ladder: Ladder, keras: Trace, torch: Trace, *, same_start: bool = False) -> None:
    """Rungs 1 to 9 over two traces; Torch's layers have been given their partners' names.

    Args:
        ladder: Where the checks go.
        keras: Keras' trace.
        torch: Torch's trace.
        same_start: Whether every step starts from Keras' weights on both sides: then gradients of
            later steps are compared as well.
    """
    ladder.climbed += range(1, 10)
    structure(ladder, keras.layers, torch.layers)
    pair = _Pair(ladder, keras, torch)
    pair.data()
    pair.compare_all("initial", 3)
    pair.forward(4, "training", 1)
    pair.outputs(4, "training", "step/1/prediction", 1)
    if "step/1/loss" in pair.keys:
        pair.compare(5, "step/1/loss", "loss", 1)
    pair.backward()
    for step in pair.steps if same_start else ():
        pair.compare_all(f"step/{step}/gradient", 6, step)
    for step in pair.steps:
        pair.optimizer(step)
        pair.compare_all(f"step/{step}/statistics", 8, step)
    pair.forward(9, "evaluation")
    pair.outputs(9, "evaluation", "prediction")
    _set_forms_aside(ladder)


_ON_THE_WAY = re.compile(r"(training|backward|evaluation)/")
"""What passes between layers: it matters by what comes of it."""

_NO_CONSEQUENCE = 1e-3
"""How much smaller than a difference on the way everything is that comes of it. What is computed
from other numbers differs by about as much as they do; what is computed from the same numbers in
another form, by rounding alone."""


def _set_forms_aside(ladder: Ladder) -> None:
    """Blame needs a consequence: what differs on the way, and nothing that comes of it, is a form.

    That is the same thing with, say, axes in another order, or with steps that are masked later.
    What comes of it are the loss, all gradients, steps, statistics and outputs. A difference in
    form is large beside what rounding leaves of them.
    """
    failed = [check for check in ladder.checks if not check.passed]
    forms = [check for check in failed if _ON_THE_WAY.match(check.path)]
    if not forms or len(forms) < len(failed):
        return
    computed = [c for c in ladder.checks if c.rung >= FORWARD and not _ON_THE_WAY.match(c.path)]
    if not any(check.layer == "output" for check in computed):
        return
    left = max(check.gap.required for check in computed)
    if not all(left <= _NO_CONSEQUENCE * check.gap.required for check in forms):
        return
    for layer in dict.fromkeys(check.layer for check in forms):
        ladder.note(f"{layer}: {ANOTHER_FORM}")
    ladder.checks = [check for check in ladder.checks if check.passed]


ANOTHER_FORM = "held in another form in Torch; all that comes of it agrees."


class _Pair:
    """Two traces, and the ladder that their comparisons are noted on."""

    def __init__(self, ladder: Ladder, keras: Trace, torch: Trace) -> None:
        self.ladder, self.keras, self.torch = ladder, keras, torch
        self.keys = dict.fromkeys([*keras, *torch])
        self.order = [layer["name"] for layer in keras.layers]
        self.steps = range(1, max(keras.steps, torch.steps) + 1)

    def compare(
        self,
        rung: int,
        key: str,
        layer: str,
        step: int | None = None,
        *,
        read: str = "",
        form: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray,
    ) -> None:
        """Compare an array of both sides, in some form; what one side lacks fails.

        `read` is the name of the array that is read in its stead.
        """
        read = read or key
        if read not in self.torch:
            reason = f": {self.torch['error']}" if "error" in self.torch else ""
            difference = unequal(f"missing in Torch{reason}")
        elif read not in self.keras:
            difference = unequal("missing in Keras")
        else:
            difference = gap(form(self.keras[read]), form(self.torch[read]))
        self.ladder.add(rung, key, layer, difference, step)

    def parts(self, name: str) -> list[str]:
        """The names of an array, or of the parts of a structure of arrays."""
        return [key for key in self.keys if key == name or key.startswith(f"{name}/")]

    def layers_under(self, prefix: str) -> dict[str, str]:
        """Every name under a prefix, of either side → its layer."""
        layers = {}
        for key in self.keys:
            if key.startswith(f"{prefix}/"):
                inner = key.removeprefix(f"{prefix}/")
                fitting = [name for name in self.order if inner.startswith(f"{name}/")]
                layers[key] = max(fitting, key=len, default=inner.partition("/")[0])
        return layers

    def unnamed(self, step: int, key: str) -> bool:
        """Whether a slot may have another name in Torch: it is that of an optimizer of one's own.

        If it has another value too, the weights of the next step differ.
        """
        weight = key.removeprefix(f"step/{step}/slots/").rpartition("/")[0]
        rule = f"step/{step}/rule/{weight}"
        own = rule in self.keras and rule not in self.torch and "error" not in self.torch
        if not own or (key in self.keras) == (key in self.torch):
            return False
        self.ladder.note(OWN_SLOTS)
        return True

    def compare_all(
        self,
        prefix: str,
        rung: int,
        step: int | None = None,
        *,
        leaving_out: Callable[[str], bool] = lambda key: False,
    ) -> None:
        """Compare everything under a prefix, in the order in which layers run."""
        layers, order = self.layers_under(prefix), self.order
        place = {key: order.index(x) if x in order else len(order) for key, x in layers.items()}
        for key in sorted(layers, key=place.__getitem__):
            if not leaving_out(key):
                self.compare(rung, key, layers[key], step)

    def data(self) -> None:
        """Rung 2: the batches."""
        for step in self.steps:
            for key in (*self.parts(f"step/{step}/data/x"), *self.parts(f"step/{step}/data/y")):
                # Where Torch raised before, that shows on the rung where it did.
                if key in self.torch or "error" not in self.torch:
                    # (n,) and (n, 1) are the same targets.
                    self.compare(2, key, "data", step, form=np.squeeze)

    def forward(self, rung: int, mode: str, step: int | None = None) -> None:
        """Inputs and outputs in the order of execution.

        A layer is blamed only when its inputs agree and its output does not; when its inputs differ
        although every layer before agreed, what lies between the two is.
        """
        before = "the input"
        for name, ends in _passes(self.keras, mode).items():
            # Of a layer in two parts, what passes between them may not be known: blame the whole.
            whole = name if "input" in ends else name.rpartition("/")[0] or name
            for end in ends:
                key = f"{mode}/{name}/{end}"
                # One side may give an attention its key and its value in one.
                if end in ("input", "output") or key in self.torch:
                    blamed = whole if end == "output" else f"between {before} and {name}"
                    self.compare(rung, key, blamed, step)
            before = name

    def backward(self) -> None:
        """Rung 6: gradients in the order in which they are computed, from the loss to the input.

        A layer is blamed when the gradient that reaches its output agrees, and what it makes of it
        does not. On the way only what both sides know is compared: one may lack a tensor.
        """
        passes = _passes(self.keras, "training")
        left = self.layers_under("gradient")
        after = "the loss"

        def passing(name: str, blamed: str) -> None:
            if (key := f"backward/{name}") in self.keras and key in self.torch:
                self.compare(6, key, blamed, 1)

        for name in reversed(passes):
            passing(f"{name}/output", f"between {name} and {after}")
            for key in [key for key, layer in left.items() if layer == name]:
                self.compare(6, key, left.pop(key), 1)
            for end in passes[name]:
                if end != "output":
                    passing(f"{name}/{end}", name)
            after = name
        for key, layer in left.items():
            self.compare(6, key, layer, 1)

    def optimizer(self, step: int) -> None:
        """Rung 7: parameters and slots; when every trained layer differs, blame the optimizer."""
        alone = _Pair(self.ladder.fresh(), self.keras, self.torch)
        alone.compare_all(f"step/{step}/weights", 7, step)
        alone.compare_all(f"step/{step}/slots", 7, step, leaving_out=partial(self.unnamed, step))
        trained = {layer["name"] for layer in self.keras.layers if layer["trained"]}
        everywhere = alone.ladder.failing() >= trained and len(trained) > 1
        self.ladder.take(alone.ladder, "optimizer" if everywhere else None)

    def outputs(self, rung: int, mode: str, name: str, step: int | None = None) -> None:
        """What the model returns; where the two return another form of it, in the form of both."""
        for key in self.parts(name):
            logits, forms = None, None
            if key in self.keras and key in self.torch:
                logits = _logits(self.keras, self.torch, key, mode) or _logits(
                    self.torch, self.keras, key, mode
                )
                forms = None if logits else _forms(self.keras[key], self.torch[key])
            if logits:
                self.ladder.note(AS_LOGITS)
            if forms is None:
                self.compare(rung, key, "output", step, read=logits or key)
                continue
            self.ladder.note(forms.note)
            keras, torch = forms.keras(self.keras[key]), forms.torch(self.torch[key])
            self.ladder.add(rung, key, "output", gap(keras, torch), step)


@dataclass(frozen=True)
class _Forms:
    """How the outputs of two models become comparable."""

    keras: Callable[[NDArray[Any]], NDArray[Any]]
    torch: Callable[[NDArray[Any]], NDArray[Any]]
    note: str


def _softmax(logits: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(special.softmax(logits, axis=-1))


_PROBABILITIES: Mapping[str, Sequence[Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "probabilities": (np.asarray,),
    "log-probabilities": (np.exp,),
    "logits": (special.expit, _softmax),
}
"""What a classifier may return → how that becomes probabilities."""


def _forms(keras: NDArray[Any], torch: NDArray[Any]) -> _Forms | None:
    """The forms in which two outputs agree in their first digits; None if in the same one."""
    if keras.shape != torch.shape or np.allclose(keras, torch):
        return None
    for ours, theirs in itertools.permutations(_PROBABILITIES, 2):
        for a, b in itertools.product(_PROBABILITIES[ours], _PROBABILITIES[theirs]):
            with np.errstate(over="ignore", invalid="ignore"):
                pair = a(np.asarray(keras)), b(np.asarray(torch))
            between = all(((p >= 0.0) & (p <= 1.0 + 1e-6)).all() for p in pair)
            if between and np.allclose(*pair, rtol=1e-4, atol=1e-6):
                note = f"Keras returns {ours}, Torch {theirs}: compared as probabilities."
                return _Forms(a, b, note)
    return None


def _passes(trace: Trace, mode: str) -> dict[str, list[str]]:
    """Layer → what of it was recorded, in the order of execution: input, …, output."""
    passes: dict[str, list[str]] = {}
    for key in trace:
        if key.startswith(f"{mode}/"):
            name, _, end = key.removeprefix(f"{mode}/").rpartition("/")
            passes.setdefault(name, []).append(end)
    return {name: sorted(ends, key="output".__eq__) for name, ends in passes.items()}


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
        everywhere = len(fresh.failing() & layers) > 1
        ladder.take(fresh, "every layer" if everywhere else None)


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
