"""Compare the traces of two sides: matched, aligned, and through the ladder to a report.

Tolerances are those of the ladder. Where something differs, they are widened to what rounding does
in this very network: Torch's side runs again with every operation rounded otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from compare.errors import unknown
from compare.parity import ladder as rungs
from compare.parity import tolerances
from compare.parity.accepted import (
    Accepted,
    StepDifferences,
    accepted_differences,
    step_differences,
)
from compare.parity.explain.float32 import failing_alone, float32_inside
from compare.parity.ladder import FORWARD, MOVING_STATISTICS, OPTIMIZER, Check, Ladder
from compare.parity.layouts import (
    channels_last,
    in_keras_order,
    samples_first,
    without_borders,
    without_padding,
)
from compare.parity.randomness import climb_draws, inspect_draws
from compare.parity.report import ParityReport
from compare.parity.tolerances import Gap
from compare.porting.causes import explained
from compare.porting.expected_differences import ExpectedStatistics
from compare.porting.floors import measure, shaken
from compare.porting.inspect import (
    image_sizes,
    inspect_layers,
    inspect_operations,
    inspect_training,
)
from compare.porting.matching import match, partners
from compare.porting.models import Side, TorchSide, first_samples
from compare.porting.options import Request
from compare.porting.randomness import traced
from compare.porting.real_step import check_real_step
from compare.porting.same_start import Starting
from compare.trace import Operation, Trace, rename, split


@dataclass(frozen=True)
class Observed:
    """What is known of one side, alive or recorded.

    Attributes:
        trace: Its trace.
        training: Settings of its optimizer and loss.
        operations: All that runs in it, in order, weighted or not.
        not_compared: What it has that no check looks at, in words.
        rounding: Torch's side alone: whether to float32 → name of an array → tolerance that
            rounding asks for; see `measure`. Called only if a check fails.
        refuse_unrepeatable: Raises an `InputError` where two training-mode passes differ. Called
            only if a check fails.
        drifted: Torch's side alone: its trace where each step goes on from its own weights; None
            where that is not known. Called only if a difference is accepted.
    """

    trace: Trace
    training: Mapping[str, Any]
    operations: Sequence[Operation]
    not_compared: Sequence[str]
    rounding: Callable[[bool], Mapping[str, float]]
    refuse_unrepeatable: Callable[[], None]
    drifted: Callable[[], Trace | None] = lambda: None


def observe(
    side: Side,
    request: Request,
    folder: Path,
    starting: Starting | None = None,
    *,
    keras: Trace | None = None,
) -> Observed:
    """Trace a side, and see that the trace is its own training.

    Args:
        side: A side that is alive.
        request: What to trace.
        folder: Where the trace goes.
        starting: Makes what its later steps start from, if not from where the step before ended.
        keras: Keras' trace, where the side is Torch's: what was drawn there is drawn again.

    Raises:
        InputError: The side cannot be used, draws random numbers, or trains otherwise when it is
            watched.
    """
    side = replace(side, progress=request.progress.within(side.name.capitalize()))
    side, trace = traced(side, request, folder, starting, keras)
    if request.y is not None:
        batches, targets = request.batches(side.name)[:1], request.targets(side.name)
        check_real_step(side, request.x, targets, trace, partial(shaken, side, batches, trace))

    def rounding(single: bool) -> Mapping[str, float]:
        assert isinstance(side, TorchSide)
        start = None if starting is None else starting(lambda layers: trace)
        return measure(side, request.batches(side.name), trace, start, single=single)

    def drifted() -> Trace:
        free = side.during("steps from its own weights")
        return free.trace(request.batches(side.name), folder.with_name(f"{folder.name}-drifted"))

    return Observed(
        trace,
        side.training(),
        side.operations(first_samples(request.x)),
        side.not_compared(),
        rounding,
        partial(side.refuse_unrepeatable, request.x),
        drifted,
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
    keras_trace, torch_trace = _aligned(keras.trace, torch.trace.renamed(names))
    statistics = ExpectedStatistics(keras_trace, torch_trace, options.allow)

    def climb(wider: Mapping[str, float], remaining: Mapping[str, Gap]) -> Ladder:
        request.progress("comparing both sides")
        ladder = Ladder(tolerances.for_dtype(request.dtype), wider, remaining)
        expected = statistics.trace(partial(ladder.allowed, MOVING_STATISTICS))
        rungs.climb(ladder, expected, torch_trace, same_start=True)
        climb_draws(ladder, keras.trace, torch.trace, names)
        return ladder

    def judged(wider: Mapping[str, float]) -> tuple[Ladder, StepDifferences]:
        ladder = climb(wider, {})
        if options.tolerances:  # Only a ladder that was climbed knows the names of its checks.
            ladder = climb(_widened(ladder, options.tolerances), {})
        failed = {c.step for c in ladder.checks if c.rung == OPTIMIZER and not c.passed}
        differences = step_differences(
            keras_trace,
            torch_trace,
            sorted(step for step in failed if step is not None),
            partial(ladder.allowed, OPTIMIZER),
            allow=options.allow,
            strict=options.strict,
        )
        remaining = differences.remaining
        return (climb(ladder.wider, remaining) if remaining else ladder), differences

    findings = (
        *inspect_layers(pairs, image_sizes(keras_trace)),
        *inspect_draws(keras.trace, torch.trace, names),
        *inspect_operations(keras.operations, torch.operations, names),
        *inspect_training(keras.training, torch.training),
    )
    ladder, differences = judged({})
    failure = ladder.first_failure()
    measured: Mapping[str, float] = {}
    if failure is not None and failure.rung >= FORWARD:
        keras.refuse_unrepeatable()
        torch.refuse_unrepeatable()
        measured = {rename(path, names): wide for path, wide in torch.rounding(False).items()}
        ladder, differences = judged(measured)
    rounded = None
    if not options.strict:
        rounded = float32_inside(
            ladder, findings, keras_trace, keras.operations, single=request.dtype == "float32"
        )
    if rounded is not None:
        single = {rename(path, names): wide for path, wide in torch.rounding(True).items()}
        ladder, differences = judged({**measured, **failing_alone(ladder, single)})

    def drifted() -> Trace | None:
        free = torch.drifted()
        if free is None:
            return None
        files = free.renamed(names).files
        views = {key: view for key, view in torch_trace.views.items() if key in files}
        return replace(free, files=files, layers=torch_trace.layers, views=views)

    accepted: Sequence[Accepted] = ()
    if ladder.passed:
        accepted = accepted_differences(
            keras_trace,
            torch_trace,
            differences,
            statistics.accepted(partial(ladder.allowed, MOVING_STATISTICS)),
            drifted,
            rounded=rounded,
        )
    return ParityReport(
        passed=ladder.passed,
        first_divergence=explained(
            ladder,
            (keras_trace, torch_trace),
            (keras.training, torch.training),
            differences,
            options.allow,
            findings,
            keras.operations,
        ),
        rungs=tuple(ladder.results()),
        dtype=request.dtype,
        allowed=tuple(options.allow),
        accepted=tuple(accepted),
        findings=findings,
        checks=tuple(ladder.checks),
        measured=bool(measured),
        error=str(torch_trace["error"]) if "error" in torch_trace else "",
        notes=tuple(ladder.notes),
        not_compared=(*keras.not_compared, *torch.not_compared),
    )


def _aligned(keras: Trace, torch: Trace) -> tuple[Trace, Trace]:
    """Both traces in one layout, where a right port may hold something in another.

    Args:
        keras: Keras' trace.
        torch: Torch's trace, with Keras' layer names.
    """
    torch = in_keras_order(keras, channels_last(keras, samples_first(keras, torch)))
    keras, torch = without_borders(keras, torch)
    return without_padding(keras, torch), torch


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
