"""From two sides to a verdict: traced, matched, aligned, and through the ladder."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from compare.errors import InputError, unknown
from compare.parity import rungs, tolerances
from compare.parity.channels_last import channels_last
from compare.parity.checks import FORWARD, Check, Divergence, Ladder
from compare.parity.cropping import without_borders
from compare.parity.explain.explanations import divergence
from compare.parity.flattening import in_keras_order
from compare.parity.time_first import samples_first
from compare.porting import allowances, noise
from compare.porting.inspection import Finding, image_sizes, inspect_layers, inspect_training
from compare.porting.matching import match, partners
from compare.porting.report import ParityReport
from compare.porting.sides import Batches, KerasSide, Side, TorchSide
from compare.porting.structures import Structure
from compare.traces import Trace, rename, split


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
            `compare.porting.noise`. Called when something differs.
        repeats: Whether it computes the same twice in training mode. Called then too.
    """

    trace: Trace
    training: Mapping[str, Any]
    evaluate: allowances.Evaluate
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
        return noise.measure(side, request.batches, trace, request.dtype)

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
        expected = allowances.Predicted(ours, found, request.allow, keras.evaluate)
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
