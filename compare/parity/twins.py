"""Parity of our own variants: one pair of twins through all eleven rungs.

The rungs up to the ninth look at two training steps from weights that are not at their defaults;
the last two at a whole training at the idiomatic pace, from the study's initial weights.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.protocol import Framework, Handle
from compare.data import Array
from compare.parity import ladder as rungs
from compare.parity import tolerances, trajectories
from compare.parity.explain import explanations
from compare.parity.ladder import Divergence, Ladder, RungResult
from compare.parity.tolerances import gap
from compare.spec import Run, Settings
from compare.study.initial import lived_in
from compare.study.records import json_number
from compare.study.runs import Outcome, orders_of, prepare, views_of
from compare.study.train import execute
from compare.study.workers import Worker
from compare.trace import Trace, TraceWriter

STEPS = 2
"""Training steps that are traced. A rounded momentum shows from the second step on."""


@dataclass(frozen=True)
class PairReport:
    """What the ladder found on one pair.

    Attributes:
        variant: Name of the variant.
        seed: Seed of both runs.
        dtype: `"float32"` or `"float64"`.
        alignment: Alignment of the study.
        passed: Whether every rung passed.
        first_divergence: What differs first; None where nothing does.
        rungs: One result per rung, in order.
        note: In float32, how the trajectory is to be read.
        heat: Differences per layer and epoch, for a figure.
    """

    variant: str
    seed: int
    dtype: str
    alignment: str
    passed: bool
    first_divergence: Divergence | None
    rungs: tuple[RungResult, ...]
    note: str = ""
    heat: trajectories.Heat | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON types; what is not a finite number is null, and told in `where`."""
        values = asdict(replace(self, heat=None))
        del values["heat"]
        for rung in values["rungs"]:
            for name in ("max_abs", "max_rel", "required"):
                rung[name] = json_number(rung[name])
        return values


@dataclass(frozen=True)
class Side:
    """One framework's part: its processes."""

    worker: Worker
    shadow: Worker
    """The process that trains in float64; the same one where the study is in float64."""


def check_pair(
    variant: str,
    seed: int,
    settings: Settings,
    sides: Mapping[str, Side],
    on_epoch: Callable[[str, int], None],
) -> PairReport:
    """Climb all eleven rungs with one pair.

    Args:
        variant: Name of the variant.
        seed: Seed of both runs.
        settings: How they train.
        sides: Framework → its processes.
        on_epoch: Called with the framework and the number of epochs done.

    Returns:
        The report.
    """
    ladder = Ladder(tolerances.for_dtype(settings.dtype))
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:

        def climb_alone(name: str) -> _Climbed:
            run, folder = Run(variant, name, seed), Path(scratch) / name
            return _climb_alone(run, settings, sides[name], folder, partial(on_epoch, name))

        # Nothing is timed here, so the two sides work at the same time.
        pool = ThreadPoolExecutor(max_workers=len(sides))
        try:
            found = dict(zip(sides, pool.map(climb_alone, sides), strict=True))
        except KeyboardInterrupt:
            # Their folders are about to go.
            for side in sides.values():
                side.worker.abandon()
                side.shadow.abandon()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        keras, torch = found["keras"], found["torch"]
        compare_plans(ladder, keras.plan, torch.plan)
        rungs.climb(ladder, keras.trace, torch.trace)
        outcomes = {name: side.outcome for name, side in found.items() if side.outcome}
        if len(outcomes) == len(found):
            trajectories.climb(ladder, outcomes["keras"], outcomes["torch"])
        plans = {name: side.plan for name, side in found.items()}
        first = divergence(ladder, keras.trace, torch.trace, plans, outcomes)
    return PairReport(
        variant=variant,
        seed=seed,
        dtype=settings.dtype,
        alignment=settings.alignment,
        passed=ladder.passed,
        first_divergence=first,
        rungs=tuple(ladder.results()),
        note=_note(keras, torch, first),
        heat=trajectories.heat(outcomes["keras"], outcomes["torch"])
        if len(outcomes) == len(found)
        else None,
    )


@dataclass(frozen=True)
class _Climbed:
    """What one side leaves: trace, plan, training in float64, and in float32 where asked for."""

    trace: Trace
    plan: NDArray[np.int64]
    outcome: Outcome | None = None
    single: Outcome | None = None


def _climb_alone(
    run: Run, settings: Settings, side: Side, folder: Path, on_epoch: Callable[[int], None]
) -> _Climbed:
    plan = side.worker.call(partial(trace_side, run, settings, folder))
    trace = Trace.open(folder)
    if "error" in trace:  # What cannot take two steps cannot be trained.
        return _Climbed(trace, plan)
    single = None
    if settings.dtype == "float32":
        single = side.worker.call(partial(execute, run, settings, record_weights=True))
    double = partial(execute, run, replace(settings, dtype="float64"), record_weights=True)
    return _Climbed(trace, plan, side.shadow.call(double, on_epoch), single)


def divergence(
    ladder: Ladder,
    keras: Trace,
    torch: Trace,
    plans: Mapping[str, NDArray[np.int64]] | None = None,
    outcomes: Mapping[str, Outcome] | None = None,
) -> Divergence | None:
    """What differs first, and the conventions that explain it; None where nothing differs.

    Args:
        ladder: The ladder, climbed.
        keras: Keras' trace.
        torch: Torch's trace, with Keras' layer names.
        plans: Framework → batches as delivered, where whole trainings are compared.
        outcomes: Framework → what training left, where it was needed.
    """
    histories = {f: o.record["history"] for f, o in outcomes.items()} if outcomes else None
    return explanations.divergence(ladder, keras, torch, plans, histories)


def _note(keras: _Climbed, torch: _Climbed, first: Divergence | None) -> str:
    """How a float32 trajectory is to be read, in the light of its float64 shadow."""
    if keras.single is None or torch.single is None:
        return ""
    curves = trajectories.heat(keras.single, torch.single).values()
    drift = f"the float32 trajectories are {max(max(c) for c in curves):.1e} apart: "
    if first is None:
        return drift + "rounding, amplified; in float64 they agree"
    if first.rung >= 10:
        return drift + "a bug, not rounding; in float64 they differ too"
    return ""


def trace_side(
    run: Run,
    settings: Settings,
    folder: Path,
    framework: Framework,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> NDArray[np.int64]:
    """Trace one side's first steps into a folder; returns its plan of batches as delivered.

    Args:
        run: Which variant, framework and seed.
        settings: How it trains.
        folder: Where the trace goes.
        framework: The loaded adapter.
        on_epoch: Not called: nothing here takes long.
    """
    handle, batches = lived_in_pair(run, settings, framework)
    writer = TraceWriter(folder)
    writer.close(framework.trace(handle, batches, writer))
    orders = orders_of(run, settings, framework)
    return padded(framework.delivered(handle, orders, batch_size=settings.batch_size))


def lived_in_pair(
    run: Run, settings: Settings, framework: Framework
) -> tuple[Handle, list[tuple[Array, Array]]]:
    """A model whose weights are not at their defaults, and the first batches of its plan."""
    views = views_of(run.variant, settings)
    handle, initial, _ = prepare(run, settings, framework)
    weights = lived_in(initial, seed=run.seed)
    framework.write_weights(handle, {k: w.astype(settings.dtype) for k, w in weights.items()})
    orders, size = orders_of(run, settings, framework), settings.batch_size
    chosen = [orders[0, step * size : (step + 1) * size] for step in range(STEPS)]
    batches = [(views.train[c], views.y_train[c]) for c in chosen if len(c)]
    return handle, batches


def padded(epochs: list[list[NDArray[Any]]]) -> NDArray[np.int64]:
    """Batches of sample indices as one array, (epochs, batches, samples), −1 for none."""
    batches = max(len(epoch) for epoch in epochs)
    samples = max((len(batch) for epoch in epochs for batch in epoch), default=0)
    plan = np.full((len(epochs), batches, samples), -1, dtype=np.int64)
    for i, epoch in enumerate(epochs):
        for j, batch in enumerate(epoch):
            plan[i, j, : len(batch)] = batch
    return plan


def compare_plans(ladder: Ladder, keras: NDArray[np.int64], torch: NDArray[np.int64]) -> None:
    """Rung 2: the very batches that each side sees, epoch by epoch."""
    ladder.climbed.append(2)
    for epoch in range(max(len(keras), len(torch))):
        rows = [side[epoch] if epoch < len(side) else np.empty(0) for side in (keras, torch)]
        ladder.add(2, "batches", "data", gap(*rows), epoch + 1)
