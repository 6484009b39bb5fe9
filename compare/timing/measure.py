"""Timing `model.fit` and `Trainer.fit` as a user writes them, and the floor below each.

Both frameworks of a variant have a process of their own, only one of which computes at a time.
Fits alternate, A B A B, and who begins alternates from repetition to repetition, so that a machine
that slows down troubles both alike. Nothing is evaluated under the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import zip_longest

import numpy as np

from compare.backends.protocol import Framework
from compare.errors import InputError
from compare.resources import wait_until_quiet
from compare.spec import FRAMEWORKS, Run, Settings
from compare.study.runs import Outcome
from compare.study.train import Told, execute_many, time_once, timed
from compare.study.workers import Worker, side_by_side
from compare.timing.records import WARM_UP_EPOCHS, Measurements, Plan, Point, Process, Sample

TARGET_SEEDS, TARGET_EPOCHS = 10, 100

Say = Callable[[str], None]


def measure_variant(
    variant: str, plan: Plan, measurements: Measurements, *, save: Callable[[], None], say: Say
) -> None:
    """Time one variant in both frameworks, in two new processes.

    Args:
        variant: What to train.
        plan: How, and how often.
        measurements: Receives the samples.
        save: Called after every finished repetition.
        say: Called with a line about what is under way.

    Raises:
        InputError: A GPU was asked for, and there is none.
        MissingDependencyError: A framework cannot be imported.
        WorkerError: A process died, or the idiomatic fit raised.
    """
    with ExitStack() as stack:
        say(f"{variant}: starting the frameworks")
        workers = start(plan, stack, measurements)
        work = _work(workers, plan)
        peaks: dict[str, int | None] = {}
        for repetition in range(plan.repetitions + 1):
            left = plan.patience - measurements.waited
            measurements.waited += wait_until_quiet(left, say)
            say(f"{variant}: " + (f"repetition {repetition}" if repetition else "warming up"))
            for name, choice in _in_turn(work, repetition):
                sample, peak = _timed(workers[name], (variant, *choice), repetition, plan)
                peaks.setdefault(name, peak)
                measurements.samples.append(sample)
                if sample.error is not None:
                    work[name].remove(choice)
            save()
        say(f"{variant}: epochs to the target, {TARGET_SEEDS} seeds at the fast pace")
        reached = epochs_to_target(workers, variant, plan.settings)
        for name, worker in workers.items():
            process = Process(
                variant=variant,
                framework=name,
                import_seconds=worker.import_seconds,
                peak_rss_bytes=peaks[name],
                epochs_to_target=reached[name],
            )
            measurements.processes.append(process)
        save()


def start(plan: Plan, stack: ExitStack, measurements: Measurements) -> dict[str, Worker]:
    """A new process per framework, one after the other, so that imports do not share the cores.

    Raises:
        InputError: A GPU was asked for, and there is none.
    """
    workers = {}
    for name in FRAMEWORKS:
        worker = stack.enter_context(Worker(name, plan.settings, plan.accelerator))
        report = measurements.reports[name] = worker.ready()
        if plan.accelerator == "gpu" and report["accelerator"] == "cpu":
            raise InputError(
                f"--accelerator gpu: expected a GPU that {name} can use, found none: "
                "leave the option out to time the CPU."
            )
        workers[name] = worker
    return workers


Work = dict[str, list[tuple[str, str]]]
"""Framework → configurations and their kinds."""


def _work(workers: dict[str, Worker], plan: Plan) -> Work:
    kinds = ("idiomatic", "floor", "tuned") if plan.tuned else ("idiomatic", "floor")
    return {
        name: [(c, kind) for c, kind in worker.call(configurations).items() if kind in kinds]
        for name, worker in workers.items()
    }


def _in_turn(work: Work, repetition: int) -> Iterator[tuple[str, tuple[str, str]]]:
    """Configurations of both frameworks in turns; even repetitions begin with the other one."""
    names = list(work) if repetition % 2 else list(reversed(work))
    for row in zip_longest(*(list(work[name]) for name in names)):
        for name, choice in zip(names, row, strict=True):
            if choice is not None:
                yield name, choice


def _timed(
    worker: Worker, what: tuple[str, str, str], repetition: int, plan: Plan
) -> tuple[Sample, int | None]:
    variant, configuration, kind = what
    epochs = plan.settings.epochs if repetition else WARM_UP_EPOCHS
    settings = replace(plan.settings, epochs=epochs)
    run = Run(variant, worker.name, 0)
    fit = worker.call(partial(time_once, run, settings, configuration, kind != "idiomatic"))
    sample = Sample(
        variant=variant,
        framework=worker.name,
        configuration=configuration,
        kind=kind,
        repetition=repetition,
        first_step=fit.get("first_step"),
        epoch_ends=tuple(fit.get("epoch_ends", ())),
        other_cores=fit["other_cores"],
        note=fit.get("note", ""),
        error=fit.get("error"),
    )
    return sample, fit["peak"]


def configurations(framework: Framework, on_epoch: Callable[[int], None]) -> dict[str, str]:
    """What a framework can time → its kind."""
    return framework.configurations()


def epochs_to_target(
    workers: Mapping[str, Worker], variant: str, settings: Settings
) -> dict[str, tuple[int | None, ...]]:
    """Epochs until the test accuracy first reaches the target, per seed; None where it does not.

    Nothing is timed here: many seeds train at once, both frameworks at the same time.

    Args:
        workers: Framework → its process.
        variant: What to train.
        settings: How; seeds, epochs and pace are this function's own.
    """
    longer = replace(settings, seeds=TARGET_SEEDS, epochs=TARGET_EPOCHS, pace="fast")
    reached: dict[str, list[int | None]] = {name: [] for name in workers}

    def receive(content: Told) -> None:
        if isinstance(content, Outcome):
            record = content.record
            reached[record["framework"]].append(record["epochs_to_target"])

    jobs = {w: [partial(execute_many, variant, name, longer)] for name, w in workers.items()}
    side_by_side(jobs, receive)
    return {name: tuple(epochs) for name, epochs in reached.items()}


SIZES = {
    "batch_size": (8, 24, 64, 184, 512, 1448, 4096),
    "units": (50, 108, 232, 500, 1077, 2320, 5000),
}
BASE = {"batch_size": 32, "units": 50}
STEPS, EPOCHS = 16, 4
BUDGET_SECONDS = 90.0


def measure_scaling(
    plan: Plan, measurements: Measurements, *, save: Callable[[], None], say: Say
) -> None:
    """Time the idiomatic fit and the floors over all sizes, frameworks in turns.

    Args:
        plan: dtype, threads and device.
        measurements: Receives the points, and a line in `left_out` where time ran out.
        save: Called after every size.
        say: Called with a line about what is under way.
    """
    with ExitStack() as stack:
        say("scaling: starting the frameworks")
        workers = start(plan, stack, measurements)
        kinds = {
            name: {c: k for c, k in worker.call(configurations).items() if k != "tuned"}
            for name, worker in workers.items()
        }
        begin = time.monotonic()
        # From small to large on both axes at once: where time runs out, large sizes are missing.
        for pair in zip(
            *([(a, size) for size in sizes] for a, sizes in SIZES.items()), strict=True
        ):
            for axis, size in pair:
                if time.monotonic() - begin > BUDGET_SECONDS:
                    measurements.left_out.append(
                        f"scaling: {axis} {size}, {BUDGET_SECONDS:g} seconds had passed"
                    )
                    continue
                say(f"scaling: {axis} {size}")
                for name in FRAMEWORKS:
                    measurements.points += _points(workers[name], kinds[name], axis, size, plan)
                save()


def _points(worker: Worker, kinds: dict[str, str], axis: str, size: int, plan: Plan) -> list[Point]:
    points = []
    for configuration, kind in kinds.items():
        seconds = worker.call(partial(step_seconds, axis, size, plan.settings, configuration))
        points.append(Point(worker.name, configuration, kind, axis, size, seconds))
    return points


def step_seconds(
    axis: str,
    size: int,
    settings: Settings,
    configuration: str,
    framework: Framework,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> float:
    """Seconds per step at one size, the median over epochs from the second on.

    Args:
        axis: A key of `SIZES`; the other one stays at its `BASE`.
        size: Samples per batch, or hidden units.
        settings: dtype, and SGD.
        configuration: A name from the framework's `configurations`.
        framework: A loaded adapter.
        on_epoch: Not called.
    """
    chosen = {**BASE, axis: size}
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS * chosen["batch_size"], 2)).astype(settings.dtype)
    y = (np.hypot(*x.T) < 1.0).astype(settings.dtype)
    handle = framework.build(
        "mlp",
        {"batch_norm": "after", "units": chosen["units"]},
        seed=0,
        sgd={"learning_rate": settings.learning_rate, "momentum": settings.sgd_momentum},
        undone=(),
    )
    fit = partial(
        framework.time_fit,
        handle,
        {"train": (x, y), "test": (x, y)},
        configuration=configuration,
        epochs=EPOCHS,
        batch_size=chosen["batch_size"],
    )
    ends = timed(fit, may_fail=False)["epoch_ends"]
    return float(np.median(np.diff(ends))) / STEPS
