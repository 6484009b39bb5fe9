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
from compare.backends.loading import check_installed
from compare.spec import Run, Settings
from compare.study.events import check_events
from compare.study.records import RunFolder, check_writable
from compare.study.runs import Outcome, split_of
from compare.study.train import Told, execute_many, time_once
from compare.study.workers import Worker, side_by_side

Progress = Callable[[Run, int], None]
"""Called with a run and the number of its epochs that are done: 0 when it begins, and all of them
when it is saved, not before."""

REPETITIONS, EPOCHS = 2, 6
"""Timed fits per variant and framework at the end of a study at the fast pace, and the epochs of
each: about half a minute for ten variants."""


def plan(settings: Settings) -> Iterator[Run]:
    """The runs of a study. Frameworks alternate, so that a noisy machine troubles both alike."""
    for variant in settings.variants:
        for seed in range(settings.seeds):
            for framework in settings.frameworks:
                yield Run(variant, framework, seed)


def default_path(root: Path = Path("runs"), *, prefix: str = "") -> Path:
    """`runs/<date>-<time>`, with a number after it where that is taken."""
    name = prefix + datetime.now().strftime("%Y%m%d-%H%M%S")
    candidates = (root / (name if n == 1 else f"{name}-{n}") for n in range(1, 1000))
    return next(path for path in candidates if not path.exists())


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
        progress: Called after every epoch.
        say: Called with what the timing pass times; None to leave that pass out.
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

    def after_epoch(run: Run, epoch: int) -> None:
        if epoch < settings.epochs:
            progress(run, epoch)

    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(name, settings)) for name in settings.frameworks
        }
        reports = {name: worker.ready() for name, worker in workers.items()}
        folder = RunFolder.create(path, _manifest(settings, reports))

        def save(outcome: Outcome) -> None:
            record = outcome.record
            folder.append(record, outcome.arrays, outcome.replay)
            run = Run(record["variant"], record["framework"], record["seed"])
            progress(run, settings.epochs)

        if settings.pace == "idiomatic":
            # One run at a time: nothing else computes while a framework's clock runs.
            for run in plan(settings):
                progress(run, 0)
                save(workers[run.framework].run(run, partial(after_epoch, run), events=events))
        else:
            _train_many(settings, workers, after_epoch, save)
            if say is not None:
                _time_variants(settings, workers, folder, say)
    return folder


def _train_many(
    settings: Settings,
    workers: Mapping[str, Worker],
    after_epoch: Progress,
    save: Callable[[Outcome], None],
) -> None:
    """All seeds of a variant at once, both frameworks at the same time: nothing is timed."""

    def receive(message: Told) -> None:
        if isinstance(message, Outcome):
            save(message)
            return
        runs, epoch = message
        for run in runs:
            after_epoch(run, epoch)

    jobs = {
        worker: [partial(execute_many, v, name, settings) for v in settings.variants]
        for name, worker in workers.items()
    }
    side_by_side(jobs, receive)


def _time_variants(
    settings: Settings,
    workers: Mapping[str, Worker],
    folder: RunFolder,
    say: Callable[[str], None],
) -> None:
    """Time `model.fit` and `Trainer.fit` of every variant as a user writes them, in turns.

    Nothing else computes meanwhile, and nothing is evaluated. `bn-compare time` measures the same
    with more care.
    """
    short = replace(settings, epochs=EPOCHS)
    for variant in settings.variants:
        for repetition in range(1, REPETITIONS + 1):
            for name in list(workers)[:: 1 if repetition % 2 else -1]:
                say(f"timing {variant} in {name}, {repetition} of {REPETITIONS}")
                job = partial(time_once, Run(variant, name, 0), short, "idiomatic", False)
                fit = workers[name].call(job)
                folder.append_timing(
                    {
                        "variant": variant,
                        "framework": name,
                        "repetition": repetition,
                        "first_step_seconds": fit["first_step"],
                        # The first epoch traces, compiles and sets up the loaders.
                        "epoch_seconds": np.diff(fit["epoch_ends"]).tolist(),
                        "other_cores": fit["other_cores"],
                    }
                )


def _manifest(settings: Settings, reports: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Everything about a study that is not a result; `reports` are the processes' own, by name."""
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
