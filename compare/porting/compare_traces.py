"""From two sides to a verdict: traced, matched, aligned, and through the ladder."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.errors import InputError, unknown
from compare.parity import ladder as rungs
from compare.parity import tolerances
from compare.parity.explain.explanations import divergence
from compare.parity.ladder import FORWARD, Check, Divergence, Ladder
from compare.parity.layouts import channels_last, in_keras_order, samples_first, without_borders
from compare.parity.tolerances import gap
from compare.porting import expected_differences
from compare.porting.inspect_settings import Finding, image_sizes, inspect_layers, inspect_training
from compare.porting.matching import match, partners
from compare.porting.models import Batches, KerasSide, Side, Structure, TorchSide, jogged
from compare.porting.report import ParityReport
from compare.trace import Trace, rename, split

_FORWARD = re.compile(r"training/|step/\d+/(loss|statistics|prediction)")
_STEPPED = re.compile(r"step/|evaluation/|prediction")

MARGIN, BACK_MARGIN = 8.0, 16.0
"""How far above what was measured Keras and Torch may be apart: they add up in another order, at
every operation, where the measurement disturbs each weight once. Over three draws of the weights of
a residual network of 50 layers they were up to 2.2 times as far apart forward, and 10.9 times on
the way back, where a unit at its kink lets a gradient through on one side alone."""

DRAWS = 2
"""A single disturbance may cancel by chance in what is one number, such as the loss."""

LEAST = 64
"""Units in the last place that optimizers may add: they round constants of their own, such as
Adam's powers of 0.999. Over eleven small networks that was up to 50 units."""

CEILING: Mapping[str, float] = {
    # A learning rate or a momentum that was rounded to float32 costs some 1e-8.
    "float64": 1e-10,
    # An epsilon of 1e-5 instead of 1e-3 costs some 5e-4 of a normalized value.
    "float32": 1e-2,
}
"""The largest tolerance that rounding may ask for: beyond it a mistake would pass as noise."""

BACK_CEILING: Mapping[str, float] = {"float64": 1e-10, "float32": 0.1}
"""The same of what comes after the forward pass. Rounding moves gradients of 50 layers in float32
by 5e-2: a mistake there that is smaller shows in float64 alone."""


_GIVEN = re.compile(r"initial/|step/\d+/data/|error$")
"""What is given, not computed: equal or not."""


def measure(side: TorchSide, batches: Batches, found: Trace, dtype: str) -> dict[str, float]:
    """Name of an array → the tolerance that rounding in this network asks for.

    Nothing where the module cannot be copied.

    Args:
        side: Torch's side; a copy of it is disturbed.
        batches: Those that were traced.
        found: Their trace.
        dtype: `"float32"` or `"float64"`.
    """
    rng = np.random.default_rng(0)
    worst: dict[str, float] = {}
    for _ in range(DRAWS):
        floors = _Floors(found)
        copy = side.perturbed(rng)
        if copy is None:
            return {}
        copy.stream(jogged(batches, rng), floors)
        for path, floor in floors.found.items():
            worst[path] = max(worst.get(path, 0.0), floor)
    return {path: _tolerance(path, floor, dtype) for path, floor in worst.items()}


def _tolerance(path: str, floor: float, dtype: str) -> float:
    if _FORWARD.match(path):
        return min(MARGIN * floor, CEILING[dtype])
    least = LEAST * float(np.finfo(dtype).eps) if _STEPPED.match(path) else 0.0
    return min(max(BACK_MARGIN * floor, least), BACK_CEILING[dtype])


class _Floors:
    """How far arrays are from those of a trace, looked at as they come."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.found: dict[str, float] = {}

    def __call__(self, path: str, array: NDArray[Any]) -> None:
        if path in self._trace and not _GIVEN.match(path):
            self.found[path] = gap(self._trace[path], array).required

    def alias(self, path: str, existing: str) -> None:
        # What is one array here is one array there: the module is the same.
        if path in self._trace and existing in self.found:
            self.found[path] = self.found[existing]


@dataclass(frozen=True)
class Request:
    """What is compared, and how; see `compare.porting.check.check_parity`."""

    x: Structure
    y: Structure | None
    dtype: str
    steps: int = 2
    pairs: Mapping[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    weights_from: str | None = None
    tolerances: Mapping[str, float] = field(default_factory=dict)

    @property
    def batches(self) -> Batches:
        """Each training step sees all samples; without targets there is one forward pass."""
        return [(self.x, self.y)] * (1 if self.y is None else self.steps)


@dataclass(frozen=True)
class Observed:
    """What is known of one side, alive or recorded.

    Attributes:
        trace: Its trace.
        training: Settings of its optimizer and loss.
        evaluate: Of Keras: evaluates with some tensors replaced, for accepted differences.
        rounding: Of Torch: name of an array → tolerance that rounding asks for; see
            `compare.porting.compare_traces`. Called when something differs.
        repeats: Whether it computes the same twice in training mode. Called then too.
    """

    trace: Trace
    training: Mapping[str, Any]
    evaluate: expected_differences.Evaluate
    rounding: Callable[[], Mapping[str, float]]
    repeats: Callable[[], bool]


def observe(side: Side, request: Request, folder: Path) -> Observed:
    """Trace a side.

    Args:
        side: A side that is alive.
        request: What to trace.
        folder: Where the trace goes.

    Raises:
        InputError: The side cannot be used, or draws random numbers.
    """
    side.refuse_randomness()
    trace = side.trace(request.batches, folder)

    def evaluate(
        values: Mapping[str, NDArray[Any]], sink: Callable[[str, NDArray[Any]], None]
    ) -> None:
        assert isinstance(side, KerasSide)
        side.evaluate(values, request.x, sink)

    def rounding() -> Mapping[str, float]:
        assert isinstance(side, TorchSide)
        return measure(side, request.batches, trace, request.dtype)

    return Observed(trace, side.training(), evaluate, rounding, partial(side.repeats, request.x))


def judge(keras: Observed, torch: Observed, request: Request) -> ParityReport:
    """Climb the ladder.

    Tolerances are widened to what rounding asks for in this network only where something differs
    without: there is no need to measure it else.

    Args:
        keras: Keras' side.
        torch: Torch's side.
        request: What is compared.

    Raises:
        InputError: A side draws random numbers, or a tolerance is of no layer.
    """
    pairs = match(keras.trace.layers, torch.trace.layers, request.pairs)
    names = partners(pairs)
    ours, found = keras.trace, torch.trace.renamed(names)
    found = channels_last(ours, samples_first(ours, found))
    found = in_keras_order(ours, found)
    ours, found = without_borders(ours, found)
    expected: Any = ours
    if request.allow:
        expected = expected_differences.Predicted(ours, found, request.allow, keras.evaluate)
    base = tolerances.for_dtype(request.dtype)
    ladder = _climbed(Ladder(base), expected, found, request.tolerances)
    failure = ladder.first_failure()
    measured: Mapping[str, float] = {}
    if failure is not None and failure.rung >= FORWARD:
        _refuse_unrepeatable(keras, torch)
        measured = {rename(path, names): wide for path, wide in torch.rounding().items()}
        ladder = _climbed(Ladder(base, measured), expected, found, request.tolerances)
    findings = (
        *inspect_layers(pairs, image_sizes(ours)),
        *inspect_training(keras.training, torch.training),
    )
    return ParityReport(
        passed=ladder.passed,
        first_divergence=_first(ladder, ours, found, request.allow, findings),
        rungs=tuple(ladder.results()),
        dtype=request.dtype,
        allowed=request.allow,
        findings=findings,
        checks=tuple(ladder.checks),
        measured=bool(measured),
        error=str(found["error"]) if "error" in found else "",
        notes=tuple(ladder.notes),
    )


def _climbed(ladder: Ladder, keras: Any, torch: Trace, chosen: Mapping[str, float]) -> Ladder:
    """The ladder climbed; a second time where the user has chosen tolerances."""
    rungs.climb(ladder, keras, torch)
    if not chosen:
        return ladder
    wider = dict(ladder.wider)
    for name, tolerance in chosen.items():
        paths = [check.path for check in ladder.checks if _names(name, check)]
        if not paths:
            inner = {split(check.path)[1] for check in ladder.checks if split(check.path)[0]}
            raise unknown("layer or tensor in tolerances", name, sorted(inner))
        wider |= {path: max(tolerance, wider.get(path, 0.0)) for path in paths}
    again = Ladder(ladder.tolerances, wider)
    rungs.climb(again, keras, torch)
    return again


def _names(name: str, check: Check) -> bool:
    group, inner = split(check.path)
    # A layer is meant with all its runs, `layer#2` with that one.
    paths = f"{inner}/", re.sub(r"#\d+/", "/", f"{inner}/")
    return bool(group) and any(path.startswith(f"{name}/") for path in paths)


def _refuse_unrepeatable(keras: Observed, torch: Observed) -> None:
    """Raise where a side differs from itself: what draws numbers cannot always be seen."""
    for name, side in (("Keras", keras), ("Torch", torch)):
        if not side.repeats():
            raise InputError(
                f"the {name} side computes something else each time it runs in training mode: "
                "it draws random numbers, or keeps a state between calls. Leave that out for the "
                "check."
            )


def _first(
    ladder: Ladder,
    keras: Trace,
    torch: Trace,
    allow: Collection[str],
    findings: Collection[Finding],
) -> Divergence | None:
    """What differs first, explained by its numbers, else by how the layer is set."""
    first = divergence(ladder, keras, torch)
    if first is None:
        return None
    names = tuple(name for name in first.explained_by if name not in allow)
    failure = ladder.first_failure()
    if failure is not None and failure.path not in torch and "error" in torch:
        return replace(first, explained_by=())  # What it raised says why.
    if not names:
        told = (f.convention for f in findings if f.is_of(first.layer) and f.convention)
        names = tuple(dict.fromkeys(name for name in told if name not in allow))
    return replace(first, explained_by=names)
