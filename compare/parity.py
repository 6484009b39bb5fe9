"""Parity of our own variants: one pair of twins through all eleven rungs.

The rungs up to the ninth look at two training steps from weights that are not at their defaults;
the last two at a whole training at the idiomatic pace, from the study's initial weights.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare import rungs, tolerances
from compare.data import Array, circles_split
from compare.engine import Worker
from compare.explain import explain
from compare.frameworks import Framework, Handle
from compare.gaps import gap
from compare.initial import lived_in
from compare.ladder import RUNGS, Divergence, Ladder, RungResult
from compare.runs import Outcome, Run, execute, orders_of, prepare, views_of
from compare.spec import Settings
from compare.traces import Trace, TraceWriter

STEPS = 2
"""Training steps that are traced. A rounded momentum shows from the second step on."""

Heat = dict[str, list[float]]
"""Layer → largest difference of its weights and statistics after every epoch."""


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
    heat: Heat | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON types; what is not a finite number is null, and told in `where`."""
        values = asdict(replace(self, heat=None))
        del values["heat"]
        for rung in values["rungs"]:
            for name in ("max_abs", "max_rel", "required"):
                if rung[name] is not None and not math.isfinite(rung[name]):
                    rung[name] = None
        return values


@dataclass(frozen=True)
class Side:
    """One framework's part: its process, and the bug that is injected there, if any."""

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
    in_double = replace(settings, dtype="float64")
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:

        def climb_alone(name: str) -> tuple[Trace, NDArray[np.int64], Outcome | None]:
            run, folder = Run(variant, name, seed), Path(scratch) / name
            plan = sides[name].worker.call(partial(trace_side, run, settings, folder))
            trace = Trace.open(folder)
            if "error" in trace:  # What cannot take two steps cannot be trained.
                return trace, plan, None
            train = partial(execute, run, in_double, record_weights=True)
            return trace, plan, sides[name].shadow.call(train, partial(on_epoch, name))

        # Nothing is timed here, so the two sides work at the same time.
        pool = ThreadPoolExecutor(max_workers=len(sides))
        try:
            found = dict(zip(sides, pool.map(climb_alone, sides), strict=True))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        (keras, keras_plan, keras_outcome), (torch, torch_plan, torch_outcome) = (
            found["keras"],
            found["torch"],
        )
        compare_plans(ladder, keras_plan, torch_plan)
        rungs.climb(ladder, keras, torch)
        outcomes = {}
        if keras_outcome and torch_outcome:
            outcomes = {"keras": keras_outcome, "torch": torch_outcome}
            compare_outcomes(ladder, keras_outcome, torch_outcome)
        plans = {"keras": keras_plan, "torch": torch_plan}
        first = divergence(ladder, keras, torch, plans, outcomes)
    return PairReport(
        variant=variant,
        seed=seed,
        dtype=settings.dtype,
        alignment=settings.alignment,
        passed=ladder.passed,
        first_divergence=first,
        rungs=tuple(ladder.results()),
        note=_note(settings, first),
        heat=heat(keras_outcome.trajectory, torch_outcome.trajectory)
        if keras_outcome and torch_outcome
        else None,
    )


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
    check = ladder.first_failure()
    if check is None:
        return None
    histories = {f: o.record["history"] for f, o in outcomes.items()} if outcomes else None
    names = explain(check, keras, torch, plans, histories)
    return Divergence(check.rung, RUNGS[check.rung], check.step, check.layer, names)


def _note(settings: Settings, first: Divergence | None) -> str:
    if settings.dtype == "float64":
        return ""
    if first is None:
        return "trajectory judged in float64: any float32 difference is rounding, amplified"
    if first.rung >= 10:
        return "trajectory judged in float64, where it differs too: a bug, not rounding"
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
    split = circles_split(
        n_samples=settings.n_samples, noise=settings.noise, seed=settings.data_seed
    )
    views = views_of(run, settings, split)
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


LOSSES = {
    "prediction/train_loss": "train_loss",
    "prediction/test_loss": "test_loss",
    "running_train_loss": "running_train_loss",
}
"""Name in the ladder → curve. Two are computed here from predictions, which are then to blame."""

COUNTS = ("train_accuracy", "test_accuracy", "running_train_accuracy")


def compare_outcomes(ladder: Ladder, keras: Outcome, torch: Outcome) -> None:
    """Rungs 10 and 11 from two whole trainings."""
    sides = [
        {**side.trajectory, **{name: _curve(side, curve) for name, curve in LOSSES.items()}}
        for side in (keras, torch)
    ]
    rungs.trajectory(ladder, *sides)
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
        for name in COUNTS
    }
    return {
        "test_probability": side.arrays["test_probability"],
        "grid_probability": side.arrays["grid_probability"],
        **counts,
        "epochs to target": [side.record["epochs_to_target"]],
    }


def heat(keras: Mapping[str, NDArray[Any]], torch: Mapping[str, NDArray[Any]]) -> Heat:
    """Largest difference per layer and epoch, over the tensors that both sides have."""
    found: dict[str, NDArray[Any]] = {}
    for name in keras.keys() & torch.keys():
        if keras[name].shape != torch[name].shape:
            continue
        axes = tuple(range(1, keras[name].ndim))
        worst = np.abs(keras[name] - torch[name]).max(axis=axes)
        layer = name.rpartition("/")[0]
        found[layer] = np.maximum(found[layer], worst) if layer in found else worst
    order = dict.fromkeys(name.rpartition("/")[0] for name in keras)
    return {layer: [float(v) for v in found[layer]] for layer in order if layer in found}
