"""Parity of a built-in variant: its Keras and its Lightning twin through all eleven rungs.

The rungs up to the ninth look at two training steps from weights that are not at their defaults;
the last two at a whole training at the idiomatic pace, from the study's initial weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.protocol import Framework, Handle
from compare.data import Array
from compare.parity import ladder as rungs
from compare.parity import tolerances
from compare.parity.explain.explanations import divergence
from compare.parity.ladder import Divergence, Ladder
from compare.parity.report import VariantReport
from compare.parity.tolerances import gap
from compare.progress import Listener, Progress
from compare.scratch import scratch_folder
from compare.spec import Run, Settings
from compare.study.initial import lived_in
from compare.study.runs import Outcome, orders_of, prepare, views_of
from compare.study.train import execute
from compare.study.workers import Worker
from compare.trace import Trace, TraceWriter

STEPS = 2
"""Training steps that are traced. A rounded momentum shows from the second step on."""

_LOSSES = {
    "prediction/train_loss": "train_loss",
    "prediction/test_loss": "test_loss",
    "running_train_loss": "running_train_loss",
}
"""Name in the ladder → curve. Two are computed here from predictions, which are then to blame."""

_ACCURACIES = ("train_accuracy", "test_accuracy", "running_train_accuracy")


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
    progress: Callable[[Run, int, str], None],
) -> VariantReport:
    """Climb all eleven rungs with one pair.

    Args:
        variant: Name of the variant.
        seed: Seed of both runs.
        settings: How they train.
        sides: Framework → its processes.
        progress: Called with a run, the number of its epochs that are done, and a note.

    Returns:
        The report.
    """
    ladder = Ladder(tolerances.for_dtype(settings.dtype))
    with scratch_folder() as scratch:

        def results_of(name: str) -> _Results:
            run, folder = Run(variant, name, seed), scratch / name
            return _run_side(run, settings, sides[name], folder, partial(progress, run))

        # Nothing is timed here, so the two sides work at the same time.
        pool = ThreadPoolExecutor(max_workers=len(sides))
        try:
            results = dict(zip(sides, pool.map(results_of, sides), strict=True))
        except KeyboardInterrupt:
            # The folders they write to are about to be deleted.
            for side in sides.values():
                side.worker.abandon()
                side.shadow.abandon()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        keras, torch = results["keras"], results["torch"]
        plans = {name: side.plan for name, side in results.items()}
        outcomes = {name: side.outcome for name, side in results.items() if side.outcome}
        trained = len(outcomes) == len(results)
        compare_plans(ladder, keras.plan, torch.plan)
        rungs.climb(ladder, keras.trace, torch.trace)
        if trained:
            compare_trainings(ladder, outcomes["keras"], outcomes["torch"])
        first = divergence(ladder, keras.trace, torch.trace, plans, outcomes)
    return VariantReport(
        variant=variant,
        seed=seed,
        dtype=settings.dtype,
        alignment=settings.alignment,
        passed=ladder.passed,
        first_divergence=first,
        rungs=tuple(ladder.results()),
        note=_note(keras, torch, first),
        heat=heat(outcomes["keras"], outcomes["torch"]) if trained else None,
    )


@dataclass(frozen=True)
class _Results:
    """What one side leaves: trace, plan, training in float64, and in float32 in such a study."""

    trace: Trace
    plan: NDArray[np.int64]
    outcome: Outcome | None = None
    single: Outcome | None = None


def _run_side(
    run: Run, settings: Settings, side: Side, folder: Path, progress: Callable[[int, str], None]
) -> _Results:
    tracing = partial(trace_side, run, settings, folder)
    plan = side.worker.call(tracing, lambda place: progress(0, place))
    trace = Trace.open(folder)
    if "error" in trace:  # What cannot take two steps cannot be trained.
        return _Results(trace, plan)
    single = None
    if settings.dtype == "float32":
        training = partial(execute, run, settings, record_weights=True)
        single = side.worker.call(training, lambda epoch: progress(0, f"float32, epoch {epoch}"))
    double = partial(execute, run, replace(settings, dtype="float64"), record_weights=True)
    outcome = side.shadow.call(double, lambda epoch: progress(epoch, ""))
    return _Results(trace, plan, outcome, single)


def _note(keras: _Results, torch: _Results, first: Divergence | None) -> str:
    """How a float32 trajectory is to be read, in the light of its float64 shadow."""
    if keras.single is None or torch.single is None:
        return ""
    curves = heat(keras.single, torch.single).values()
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
    progress: Listener | None = None,
) -> NDArray[np.int64]:
    """Trace one side's first steps into a folder; returns its plan of batches as delivered.

    Args:
        run: Which variant, framework and seed.
        settings: How it trains.
        folder: Where the trace goes.
        framework: The loaded adapter.
        progress: Called with what is under way.
    """
    handle, batches = lived_in_pair(run, settings, framework)
    writer = TraceWriter(folder)
    sink = Progress(progress).heard(writer, len(batches))
    writer.close(framework.trace(handle, batches, sink))
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
    for epoch in range(max(len(keras), len(torch))):
        rows = [side[epoch] if epoch < len(side) else np.empty(0) for side in (keras, torch)]
        ladder.add(2, "batches", "data", gap(*rows), epoch + 1)


def compare_trainings(ladder: Ladder, keras: Outcome, torch: Outcome) -> None:
    """Rungs 10 and 11: two whole trainings, epoch by epoch, and where they end."""
    trajectories = [
        {**side.trajectory, **{name: _curve(side, curve) for name, curve in _LOSSES.items()}}
        for side in (keras, torch)
    ]
    rungs.trajectory(ladder, *trajectories)
    rungs.outcome(ladder, _outcome(keras), _outcome(torch))


def _curve(side: Outcome, name: str) -> NDArray[Any]:
    values = side.record["history"][name]
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)


def _outcome(side: Outcome) -> dict[str, Any]:
    settings = side.record["settings"]
    n_train = settings["n_samples"] // 2
    n_test = settings["n_samples"] - n_train
    counts = {
        f"{name} as a count": [
            None if math.isnan(v) else round(v * (n_test if name.startswith("test") else n_train))
            for v in _curve(side, name)
        ]
        for name in _ACCURACIES
    }
    return {
        "test_probability": side.arrays["test_probability"],
        "grid_probability": side.arrays["grid_probability"],
        **counts,
        "epochs to target": [side.record["epochs_to_target"]],
    }


def heat(keras: Outcome, torch: Outcome) -> dict[str, list[float]]:
    """Layer → largest difference of its weights and statistics after every epoch.

    Only tensors that both trajectories have are compared.
    """
    curves: dict[str, NDArray[Any]] = {}
    for name, ours in keras.trajectory.items():
        theirs = torch.trajectory.get(name)
        if theirs is not None and ours.shape == theirs.shape:
            apart = np.abs(ours - theirs).max(axis=tuple(range(1, ours.ndim)))
            layer = name.rpartition("/")[0]
            curves[layer] = np.maximum(curves.get(layer, apart), apart)
    return {layer: [float(v) for v in curve] for layer, curve in curves.items()}
