"""TensorBoard event files: how runs and curves are called there, and whether they can be written.

Both frameworks write the same curves under the same tags, with the epoch (from 1) as the step, so
that one TensorBoard page lays them over each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from compare.backends.loading import check_event_logs
from compare.errors import InputError, RunFolderError
from compare.spec import Run, Settings
from compare.study.records import check_parent, run_name


def tagged(values: Mapping[str, float]) -> dict[str, float]:
    """What the history notes of an epoch, by tag: `test_accuracy` is `accuracy/test`."""
    named = ((name.rpartition("_"), value) for name, value in values.items())
    return {f"{measure}/{what}": value for (what, _, measure), value in named}


def folder_of(run: Run, events: Path) -> Path:
    """Where the event file of a run goes: `<variant>-<framework>-<seed>` below `events`."""
    return events / run_name(vars(run))


def check_events(settings: Settings, events: Path, runs: Iterable[Run]) -> None:
    """Raise unless the event files of a study can be written; leaves nothing behind.

    Args:
        settings: How it will be trained.
        events: Folder of all event files.
        runs: The runs of the study.

    Raises:
        InputError: The pace is one at which no framework logs.
        MissingDependencyError: What a framework's logger needs is not installed.
        RunFolderError: The folder cannot be written to, or has event files of a run.
    """
    if settings.pace != "idiomatic":
        raise InputError(
            f"--tensorboard: expected --pace idiomatic, received --pace {settings.pace}: "
            "the frameworks' own loggers run with model.fit and Trainer.fit alone."
        )
    check_event_logs(settings.frameworks)
    check_parent(events, "--tensorboard")
    for folder in (folder_of(run, events) for run in runs):
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise RunFolderError(
                f"--tensorboard {events}: {folder.name} is there already, and nothing saved is "
                "ever mixed with something new: choose another folder."
            )
