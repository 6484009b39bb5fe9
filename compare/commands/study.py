"""Commands that train and report: `run`, `report`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from compare.commands.options import (
    ALL_VARIANTS,
    BOTH_FRAMEWORKS,
    DEFAULT,
    EPOCHS_RATIO_MARGIN,
    AccuracyMargin,
    Alignment,
    BatchSize,
    Dtype,
    Epochs,
    EpochsRatioMargin,
    Frameworks,
    Json,
    LearningRate,
    LossMargin,
    NoTiming,
    Out,
    Pace,
    Samples,
    Seeds,
    Target,
    Tensorboard,
    Threads,
    Undo,
    Variants,
    settings_from,
)
from compare.errors import RunFolderError

if TYPE_CHECKING:
    from compare.report.results import Results
    from compare.spec import Settings
    from compare.study.records import RunFolder

_JUDGED = "test_accuracy"

RUN_EXAMPLES = """\b
Examples:
  bn-compare run
  bn-compare run --variants mlp,mlp-bn-after,mlp-bn-before --seeds 5
  bn-compare run --dtype float64 --variants cnn-bn --json
  bn-compare run --frameworks torch --alignment naive --out runs/naive
  bn-compare run --pace idiomatic --seeds 1 --tensorboard runs/tensorboard
"""
REPORT_EXAMPLES = """\b
Examples:
  bn-compare report runs/20260101-120000
  bn-compare report runs/before runs/after
  bn-compare report runs/time-20260101-120000
"""


def run(
    context: typer.Context,
    variants: Variants = ALL_VARIANTS,
    frameworks: Frameworks = BOTH_FRAMEWORKS,
    seeds: Seeds = 10,
    epochs: Epochs = DEFAULT.epochs,
    batch_size: BatchSize = DEFAULT.batch_size,
    learning_rate: LearningRate = DEFAULT.learning_rate,
    n_samples: Samples = DEFAULT.n_samples,
    alignment: Alignment = DEFAULT.alignment,
    undo: Undo = "",
    dtype: Dtype = DEFAULT.dtype,
    pace: Pace = "fast",
    no_timing: NoTiming = False,
    tensorboard: Tensorboard = None,
    target: Target = DEFAULT.target,
    accuracy_margin: AccuracyMargin = DEFAULT.accuracy_margin,
    loss_margin: LossMargin = DEFAULT.loss_margin,
    epochs_ratio_margin: EpochsRatioMargin = EPOCHS_RATIO_MARGIN,
    threads: Threads = DEFAULT.threads,
    out: Out = None,
    json_output: Json = False,
) -> None:
    """Train the study in both frameworks, write a run folder, print the table."""
    from compare.report import pages
    from compare.study import run as grid

    settings = settings_from(context.params)
    pages.check_installed()
    path = grid.default_path() if out is None else out
    try:
        results = pages.write(_train(settings, path, timing=not no_timing, events=tensorboard))
    except KeyboardInterrupt:
        _interrupted(path)
    _print_results(results, path, as_json=json_output)


def _train(settings: Settings, path: Path, *, timing: bool, events: Path | None) -> RunFolder:
    from compare.console import StudyProgress
    from compare.study.run import run_study

    with StudyProgress(settings) as progress:
        say = progress.say if timing else None
        folder = run_study(settings, path, progress=progress, say=say, events=events)
        progress.say("writing the report")
    return folder


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="A run folder; several are compared.")
    ],
    json_output: Json = False,
) -> None:
    """Redo table, figures and pages from a run folder; no framework is needed.

    With several folders, compare each with the first, run by run: two versions, or two machines. A
    folder of `bn-compare time` has its own tables redone.
    """
    from compare.report import pages
    from compare.study.records import RunFolder

    if len(folders) == 1 and _redone(folders[0], as_json=json_output):
        return
    opened = [RunFolder.open(folder) for folder in folders]
    if len(opened) > 1:
        _print_versus(opened, as_json=json_output)
        return
    pages.check_installed()
    results = pages.write(opened[0])
    _print_results(results, folders[0], as_json=json_output)


def _redone(folder: Path, *, as_json: bool) -> bool:
    """Whether it is a folder of `bn-compare time`, whose pages are written again then."""
    from compare.timing.records import FILE as TIMING

    if (folder / TIMING).is_file():
        from compare.report.pages import check_installed

        check_installed()
        from compare.timing import report as timing

        timing.redo(folder, as_json=as_json)
        return True
    return False


def _print_versus(folders: Sequence[RunFolder], *, as_json: bool) -> None:
    from compare.analysis import compare_studies
    from compare.console import print_grid
    from compare.report import tables

    first, *others = folders
    found = [(other, compare_studies.versus(first, other)) for other in others]
    if as_json:
        content = [
            {
                "first": str(first.path),
                "second": str(other.path),
                "changes": tables.changes(first.manifest, other.manifest),
                "rows": [one.to_json() for one in rows],
            }
            for other, rows in found
        ]
        print(json.dumps({"comparisons": content}, allow_nan=False))
        return
    for other, rows in found:
        print(f"first: {first.path}\nsecond: {other.path}")
        print_grid(tables.VERSUS_HEADINGS, tables.versus_lines(rows), left=2)
        changed = tables.changes(first.manifest, other.manifest)
        print("\n".join(["", *(changed or ["versions and hardware: the same"]), ""]))


def _print_results(results: Results, path: Path, *, as_json: bool) -> None:
    from compare import console
    from compare.analysis import summary
    from compare.console import print_grid
    from compare.report import tables

    rows = results.rows
    if as_json:
        content = {"run_dir": str(path), "rows": [summary.row_json(row) for row in rows]}
        print(json.dumps(content, allow_nan=False))
        return
    found = {one.variant: one.verdict for one in results.comparisons if one.metric == _JUDGED}
    headings = tables.judged(tables.headings(results.settings.target), "verdict")
    lines = [
        tables.judged(line, found.get(line[0], console.MISSING))
        for line in tables.cells(rows, results.differences)
    ]
    print_grid(headings, lines, left=1)
    print("\n".join(["", *tables.tutorial_lines(rows), "", f"run folder: {path}"]))


def _interrupted(path: Path) -> NoReturn:
    from compare.study.records import RunFolder

    try:
        saved = len(RunFolder.open(path).records())
    except RunFolderError:
        saved = 0
    hint = f"; `bn-compare report {path}` makes a report of them" if saved else ""
    print(f"bn-compare: interrupted: {saved} finished runs are saved{hint}.", file=sys.stderr)
    raise typer.Exit(130)
