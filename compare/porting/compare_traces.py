"""Compare the traces of two sides: matched, aligned, and through the ladder to a report.

Tolerances are those of the ladder. Where something differs, they are widened to what rounding does
in this very network: Torch's side runs again with every weight and sample one unit in the last
place off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.protocol import Batches, Start
from compare.backends.structures import mapped
from compare.errors import unknown
from compare.parity import ladder as rungs
from compare.parity import tolerances
from compare.parity.ladder import FORWARD, Check, Ladder
from compare.parity.layouts import channels_last, in_keras_order, samples_first, without_borders
from compare.parity.report import ParityReport
from compare.parity.tolerances import gap
from compare.porting.causes import explained
from compare.porting.expected_differences import predicted
from compare.porting.inspect import (
    image_sizes,
    inspect_layers,
    inspect_operations,
    inspect_training,
)
from compare.porting.matching import match, partners
from compare.porting.models import Side, first_samples
from compare.porting.options import Request
from compare.porting.real_step import check_real_step
from compare.porting.same_start import Starting
from compare.trace import Layer, Operation, Trace, rename, split


@dataclass(frozen=True)
class Observed:
    """What is known of one side, alive or recorded.

    Attributes:
        trace: Its trace.
        training: Settings of its optimizer and loss.
        operations: All that runs in it, in order, weighted or not.
        not_compared: What it has that no check looks at, in words.
        rounding: Torch's side alone: name of an array → tolerance that rounding asks for; see
            `measure`. Called only if a check fails.
        refuse_unrepeatable: Raises an `InputError` where two training-mode passes differ. Called
            only if a check fails.
    """

    trace: Trace
    training: Mapping[str, Any]
    operations: Sequence[Operation]
    not_compared: Sequence[str]
    rounding: Callable[[], Mapping[str, float]]
    refuse_unrepeatable: Callable[[], None]


def observe(
    side: Side, request: Request, folder: Path, starting: Starting | None = None
) -> Observed:
    """Trace a side, and see that the trace is its own training.

    Args:
        side: A side that is alive.
        request: What to trace.
        folder: Where the trace goes.
        starting: Makes what its later steps start from, if not from where the step before ended.

    Raises:
        InputError: The side cannot be used, draws random numbers, or trains otherwise when it is
            watched.
    """
    side.refuse_randomness()
    trace = side.trace(request.batches(side.name), folder, starting)
    if request.y is not None:
        targets = request.targets(side.name)
        once = partial(measure, side, request.batches(side.name)[:1], trace, request.dtype)
        check_real_step(side, request.x, targets, trace, once)

    def rounding() -> Mapping[str, float]:
        start = None if starting is None else starting(lambda layers: trace)
        return measure(side, request.batches(side.name), trace, request.dtype, start)

    return Observed(
        trace,
        side.training(),
        side.operations(first_samples(request.x)),
        side.not_compared(),
        rounding,
        partial(side.refuse_unrepeatable, request.x),
    )


def compare_traces(keras: Observed, torch: Observed, request: Request) -> ParityReport:
    """Climb the ladder.

    Args:
        keras: Keras' side.
        torch: Torch's side.
        request: What is compared.

    Raises:
        InputError: A side draws random numbers, or a tolerance names no layer or tensor.
    """
    options = request.options
    pairs = match(keras.trace.layers, torch.trace.layers, options.pairs)
    names = partners(pairs)
    keras_trace, torch_trace = keras.trace, torch.trace.renamed(names)
    torch_trace = channels_last(keras_trace, samples_first(keras_trace, torch_trace))
    torch_trace = in_keras_order(keras_trace, torch_trace)
    keras_trace, torch_trace = without_borders(keras_trace, torch_trace)
    expected = keras_trace
    if options.allow:
        expected = predicted(keras_trace, torch_trace, options.allow)

    def climb(wider: Mapping[str, float]) -> Ladder:
        ladder = Ladder(tolerances.for_dtype(request.dtype), wider)
        rungs.climb(ladder, expected, torch_trace)
        if not options.tolerances:
            return ladder
        ladder = Ladder(ladder.tolerances, _widened(ladder, options.tolerances))
        rungs.climb(ladder, expected, torch_trace)
        return ladder

    ladder = climb({})
    failure = ladder.first_failure()
    measured: Mapping[str, float] = {}
    if failure is not None and failure.rung >= FORWARD:
        keras.refuse_unrepeatable()
        torch.refuse_unrepeatable()
        measured = {rename(path, names): wide for path, wide in torch.rounding().items()}
        ladder = climb(measured)
    findings = (
        *inspect_layers(pairs, image_sizes(keras_trace)),
        *inspect_operations(keras.operations, torch.operations, names),
        *inspect_training(keras.training, torch.training),
    )
    return ParityReport(
        passed=ladder.passed,
        first_divergence=explained(
            ladder,
            (keras_trace, torch_trace),
            (keras.training, torch.training),
            options.allow,
            findings,
            keras.operations,
        ),
        rungs=tuple(ladder.results()),
        dtype=request.dtype,
        allowed=tuple(options.allow),
        findings=findings,
        checks=tuple(ladder.checks),
        measured=bool(measured),
        error=str(torch_trace["error"]) if "error" in torch_trace else "",
        notes=tuple(ladder.notes),
        not_compared=(*keras.not_compared, *torch.not_compared),
    )


def _widened(ladder: Ladder, tolerances: Mapping[str, float]) -> dict[str, float]:
    """Path of a check → tolerance, where the user's for its layer or tensor is larger."""
    wider = dict(ladder.wider)
    for name, tolerance in tolerances.items():
        paths = [check.path for check in ladder.checks if _is_of(name, check)]
        if not paths:
            inner = {split(check.path)[1] for check in ladder.checks if split(check.path)[0]}
            raise unknown("layer or tensor in tolerances", name, sorted(inner))
        wider |= {path: max(tolerance, wider.get(path, 0.0)) for path in paths}
    return wider


def _is_of(name: str, check: Check) -> bool:
    group, inner = split(check.path)
    # A layer's name means all its runs, `layer#2` that one.
    paths = f"{inner}/", re.sub(r"#\d+/", "/", f"{inner}/")
    return bool(group) and any(path.startswith(f"{name}/") for path in paths)


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

_GIVEN = re.compile(r"initial/|step/\d+/(data|rule)/|error$")
"""What is an input, not computed: equal or not."""


def measure(
    side: Side, batches: Batches, trace: Trace, dtype: str, start: Start | None = None
) -> dict[str, float]:
    """Name of an array → the tolerance that rounding in this network asks for.

    Args:
        side: A side; what its steps start from is disturbed, and put back.
        batches: Those that were traced.
        trace: Their trace.
        dtype: `"float32"` or `"float64"`.
        start: What the traced steps started from.
    """
    rng = np.random.default_rng(0)
    initial = {split(k)[1]: np.asarray(trace[k]) for k in trace if k.startswith("initial/")}

    def disturbed(step: int, layers: Sequence[Layer]) -> dict[str, NDArray[Any]]:
        weights: Mapping[str, NDArray[Any]] = initial
        if step > 1:
            weights = {} if start is None else start(step, layers)
        return {name: jog(weight, rng) for name, weight in weights.items()}

    worst: dict[str, float] = {}
    for _ in range(DRAWS):
        floors = _Floors(trace)
        side.stream(jogged(batches, rng), floors, disturbed)
        for path, floor in floors.required.items():
            worst[path] = max(worst.get(path, 0.0), floor)
    return {path: _tolerance(path, floor, dtype) for path, floor in worst.items()}


def _tolerance(path: str, floor: float, dtype: str) -> float:
    if _FORWARD.match(path):
        return min(MARGIN * floor, CEILING[dtype])
    least = LEAST * float(np.finfo(dtype).eps) if _STEPPED.match(path) else 0.0
    return min(max(BACK_MARGIN * floor, least), BACK_CEILING[dtype])


class _Floors:
    """A sink: how far arrays are from those of a trace, without keeping them."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.required: dict[str, float] = {}

    def __call__(self, path: str, array: NDArray[Any]) -> None:
        if path in self._trace and not _GIVEN.match(path):
            self.required[path] = gap(self._trace[path], array).required

    def alias(self, path: str, existing: str) -> None:
        # What is one array here is one array there: the module is the same.
        if path in self._trace and existing in self.required:
            self.required[path] = self.required[existing]


def jog(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Every floating value moved to its neighbour, up or down; whole numbers as they are."""
    if array.dtype.kind != "f":
        return array
    towards = np.where(rng.integers(0, 2, array.shape), np.inf, -np.inf).astype(array.dtype)
    moved = np.nextafter(array, towards)
    # The neighbour of zero is no rounding error, and what is zero stays so.
    return np.where(array == 0, array, moved)


def jogged(batches: Batches, rng: np.random.Generator) -> Batches:
    """The same batches, samples one unit in the last place off."""
    return [(mapped(lambda a: jog(np.asarray(a), rng), x), y) for x, y in batches]
