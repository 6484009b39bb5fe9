"""Commands that train and report: `run`, `report`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from compare.commands import options
from compare.commands.options import DEFAULT
from compare.errors import RunFolderError

if TYPE_CHECKING:
    from compare.report.results import Results
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
    variants: options.Variants = options.ALL_VARIANTS,
    frameworks: options.Frameworks = options.BOTH_FRAMEWORKS,
    seeds: options.Seeds = 10,
    epochs: options.Epochs = DEFAULT.epochs,
    batch_size: options.BatchSize = DEFAULT.batch_size,
    learning_rate: options.LearningRate = DEFAULT.learning_rate,
    n_samples: options.Samples = DEFAULT.n_samples,
    alignment: options.Alignment = DEFAULT.alignment,
    undo: options.Undo = "",
    dtype: options.Dtype = DEFAULT.dtype,
    pace: options.Pace = "fast",
    no_timing: options.NoTiming = False,
    tensorboard: options.Tensorboard = None,
    target: options.Target = DEFAULT.target,
    accuracy_margin: options.AccuracyMargin = DEFAULT.accuracy_margin,
    loss_margin: options.LossMargin = DEFAULT.loss_margin,
    epochs_ratio_margin: options.EpochsRatioMargin = options.EPOCHS_RATIO_MARGIN,
    threads: options.Threads = DEFAULT.threads,
    out: options.Out = None,
    json_output: options.Json = False,
) -> None:
    """Train the study in both frameworks, write a run folder, print the table."""
    from compare.console import StudyProgress
    from compare.report import pages
    from compare.study import run as study

    settings = options.settings_from(context.params)
    pages.check_installed()
    path = study.default_path() if out is None else out
    try:
        with StudyProgress(settings) as progress:
            say = None if no_timing else progress.say
            folder = study.run_study(settings, path, progress=progress, say=say, events=tensorboard)
            progress.say("writing the report")
        results = pages.write(folder)
    except KeyboardInterrupt:
        _interrupted(path)
    _print_results(results, path, as_json=json_output)


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="A run folder; several are compared.")
    ],
    json_output: options.Json = False,
) -> None:
    """Redo table, figures and pages from a run folder; no framework is needed.

    With several folders, compare each with the first, run by run: two versions, or two machines. A
    folder of `bn-compare time` has its own tables redone.
    """
    from compare.report import pages
    from compare.study.records import RunFolder
    from compare.timing.records import FILE as TIMING

    if len(folders) > 1:
        _print_versus([RunFolder.open(folder) for folder in folders], as_json=json_output)
        return
    (path,) = folders
    if (path / TIMING).is_file():
        pages.check_installed()
        from compare.timing import report as timing

        timing.redo(path, as_json=json_output)
        return
    folder = RunFolder.open(path)
    pages.check_installed()
    _print_results(pages.write(folder), path, as_json=json_output)


def _print_versus(folders: Sequence[RunFolder], *, as_json: bool) -> None:
    from compare.analysis import compare_studies
    from compare.console import Table
    from compare.report import tables

    first, *others = folders
    comparisons = [
        (
            other.path,
            compare_studies.versus(first, other),
            tables.changes(first.manifest, other.manifest),
        )
        for other in others
    ]
    if as_json:
        content = [
            {
                "first": str(first.path),
                "second": str(path),
                "changes": changes,
                "rows": [row.to_json() for row in rows],
            }
            for path, rows, changes in comparisons
        ]
        print(json.dumps({"comparisons": content}, allow_nan=False))
        return
    for path, rows, changes in comparisons:
        print(f"first: {first.path}\nsecond: {path}")
        Table(tables.VERSUS_HEADINGS, tables.versus_lines(rows), left=2).print()
        print("\n".join(["", *(changes or ["versions and hardware: the same"]), ""]))


def _print_results(results: Results, path: Path, *, as_json: bool) -> None:
    from compare.analysis import summary
    from compare.console import MISSING, Table
    from compare.report import tables

    rows = results.rows
    if as_json:
        content = {"run_dir": str(path), "rows": [summary.row_json(row) for row in rows]}
        print(json.dumps(content, allow_nan=False))
        return
    verdicts = {c.variant: c.verdict for c in results.comparisons if c.metric == _JUDGED}
    headings = tables.judged(tables.headings(results.settings.target), "verdict")
    lines = [
        tables.judged(line, verdicts.get(line[0], MISSING))
        for line in tables.cells(rows, results.differences)
    ]
    Table(headings, lines, left=1).print()
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
