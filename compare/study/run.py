"""The main job: every variant × seed × framework of a study, into a run folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compare import environment
from compare.backends.protocol import check_installed
from compare.spec import Run, Settings
from compare.study.events import check_events
from compare.study.records import RunFolder, check_writable
from compare.study.runs import Outcome, split_of
from compare.study.train import Told, execute_many, time_once
from compare.study.workers import Worker, side_by_side

REPETITIONS, EPOCHS = 2, 6
"""Fits per variant and framework, and the epochs of each: about half a minute for ten variants."""


def time_variants(
    settings: Settings,
    workers: Mapping[str, Worker],
    folder: RunFolder,
    say: Callable[[str], None],
) -> None:
    """Time `model.fit` and `Trainer.fit` of every variant as a user writes them, in turns.

    Nothing else computes meanwhile, and nothing is evaluated. `bn-compare time` measures the same
    with more care.

    Args:
        settings: Settings of the study.
        workers: Framework → its process.
        folder: Receives a timing per fit.
        say: Told what is under way.
    """
    for variant, repetition, name in _in_turn(settings, list(workers)):
        say(f"timing {variant} in {name}, {repetition} of {REPETITIONS}")
        short = replace(settings, epochs=EPOCHS)
        job = partial(time_once, Run(variant, name, 0), short, "idiomatic", False)
        folder.append_timing(_timing(variant, name, repetition, workers[name].call(job)))


def _in_turn(settings: Settings, names: list[str]) -> Iterator[tuple[str, int, str]]:
    for variant in settings.variants:
        for repetition in range(1, REPETITIONS + 1):
            for name in names if repetition % 2 else reversed(names):
                yield variant, repetition, name


def _timing(variant: str, name: str, repetition: int, found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "variant": variant,
        "framework": name,
        "repetition": repetition,
        "first_step_seconds": found["first_step"],
        # The first epoch traces, compiles and sets up the loaders.
        "epoch_seconds": np.diff(found["epoch_ends"]).tolist(),
        "other_cores": found["other_cores"],
    }


Progress = Callable[[Run, int], None]
"""Called with a run and the number of its epochs that are done: 0 when it begins, and all of them
when it is saved, not before."""


def plan(settings: Settings) -> Iterator[Run]:
    """The runs of a study. Frameworks alternate, so that a noisy machine troubles both alike."""
    for variant in settings.variants:
        for seed in range(settings.seeds):
            for framework in settings.frameworks:
                yield Run(variant, framework, seed)


def run_study(
    settings: Settings,
    path: Path,
    *,
    progress: Progress,
    say: Callable[[str], None] | None = None,
    events: Path | None = None,
) -> RunFolder:
    """Train everything and save it, run by run; the report is left to `compare.report.pages`.

    At the fast pace nothing is timed while it trains, so a short timing pass closes the study.

    Nothing is written before every framework has been imported. When it is interrupted, what was
    finished stays readable.

    Args:
        settings: What to train, and how.
        path: Where the run folder goes; a new or empty folder.
        progress: Told about every epoch.
        say: Told what the timing pass times; None to leave that pass out.
        events: Folder where TensorBoard finds every run, live; None to write no event files.

    Returns:
        The run folder.

    Raises:
        MissingDependencyError: A framework is not installed.
        InputError: Event files are asked for at a pace that has none.
        RunFolderError: `path` or `events` cannot be used.
        WorkerError: A framework's process died or raised.
    """
    check_installed(settings.frameworks)
    check_writable(path)
    if events is not None:
        check_events(settings, events, plan(settings))
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(name, settings)) for name in settings.frameworks
        }
        reports = {name: worker.ready() for name, worker in workers.items()}
        folder = RunFolder.create(path, _manifest(settings, reports))
        if settings.pace == "idiomatic":
            _train_one_by_one(settings, workers, folder, progress, events)
        else:
            _train_many(settings, workers, folder, progress)
            if say is not None:
                time_variants(settings, workers, folder, say)
    return folder


def _train_one_by_one(
    settings: Settings,
    workers: Mapping[str, Worker],
    folder: RunFolder,
    progress: Progress,
    events: Path | None,
) -> None:
    """One run at a time: nothing else computes while a framework's clock runs."""
    for run in plan(settings):
        progress(run, 0)
        on_epoch = partial(_trained, progress, settings, run)
        outcome = workers[run.framework].run(run, on_epoch, events=events)
        folder.append(outcome.record, outcome.arrays, outcome.replay)
        progress(run, settings.epochs)


def _train_many(
    settings: Settings, workers: Mapping[str, Worker], folder: RunFolder, progress: Progress
) -> None:
    """All seeds of a variant at once, both frameworks at the same time: nothing is timed."""

    def told(content: Told) -> None:
        if isinstance(content, Outcome):
            record = content.record
            folder.append(record, content.arrays, content.replay)
            run = Run(record["variant"], record["framework"], record["seed"])
            progress(run, settings.epochs)
            return
        runs, epoch = content
        for run in runs:
            _trained(progress, settings, run, epoch)

    jobs = {
        worker: [partial(execute_many, v, name, settings) for v in settings.variants]
        for name, worker in workers.items()
    }
    side_by_side(jobs, told)


def _trained(progress: Progress, settings: Settings, run: Run, epoch: int) -> None:
    if epoch < settings.epochs:
        progress(run, epoch)


def default_path(root: Path = Path("runs"), *, prefix: str = "") -> Path:
    """`runs/<date>-<time>`, with a number after it where that is taken."""
    name = prefix + datetime.now().strftime("%Y%m%d-%H%M%S")
    candidates = (root / (name if n == 1 else f"{name}-{n}") for n in range(1, 1000))
    return next(path for path in candidates if not path.exists())


def _manifest(settings: Settings, reports: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Everything about a study that is not a result.

    Args:
        settings: The study's settings.
        reports: Framework → what its process said of itself.
    """
    accelerators = {name: report.pop("accelerator") for name, report in reports.items()}
    backend = reports.get("keras", {}).pop("keras_backend", None)
    live = {package: v for report in reports.values() for package, v in report.items()}
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["bn-compare", *sys.argv[1:]],
        "settings": settings.to_dict(),
        "data_digest": split_of(settings).digest,
        "versions": {**environment.versions(), **live},
        "keras_backend": backend,
        "hardware": {**environment.hardware(), "accelerator": accelerators},
        "threads": settings.threads,
        "git_commit": environment.git_commit(),
    }
