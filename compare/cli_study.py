"""Commands that train and report: `run`, `report`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from compare.cli_options import (
    ALL_VARIANTS,
    DEFAULT,
    Alignment,
    Dtype,
    Epochs,
    Json,
    Out,
    Seeds,
    Undo,
    Variants,
    number,
    split_names,
)
from compare.errors import RunFolderError
from compare.spec import FRAMEWORKS, Settings

if TYPE_CHECKING:
    from compare.records import RunFolder
    from compare.results import Results

_JUDGED = "test_accuracy"

RUN_EXAMPLES = """\b
Examples:
  bn-compare run
  bn-compare run --variants mlp,mlp-bn-after,mlp-bn-before --seeds 5
  bn-compare run --dtype float64 --variants cnn-bn --json
  bn-compare run --frameworks torch --alignment naive --out runs/naive
"""
REPORT_EXAMPLES = """\b
Examples:
  bn-compare report runs/20260101-120000
  bn-compare report runs/before runs/after
"""


def run(
    variants: Variants = ALL_VARIANTS,
    frameworks: Annotated[
        str, typer.Option(metavar="A,B", help=f"Of: {', '.join(FRAMEWORKS)}.")
    ] = ",".join(DEFAULT.frameworks),
    seeds: Seeds = 10,
    epochs: Epochs = DEFAULT.epochs,
    batch_size: Annotated[
        int,
        typer.Option(
            metavar="N", parser=number, help="Samples per step; the short last batch is kept."
        ),
    ] = DEFAULT.batch_size,
    learning_rate: Annotated[
        float, typer.Option(metavar="N", parser=number, help="Of SGD.")
    ] = DEFAULT.learning_rate,
    n_samples: Annotated[
        int,
        typer.Option(
            metavar="N", parser=number, help="Points; the first half trains, the second tests."
        ),
    ] = DEFAULT.n_samples,
    alignment: Alignment = DEFAULT.alignment,
    undo: Undo = "",
    dtype: Dtype = DEFAULT.dtype,
    pace: Annotated[
        str,
        typer.Option(
            help="fast: many seeds at once, the same numbers; idiomatic: model.fit and Trainer.fit."
        ),
    ] = "fast",
    no_timing: Annotated[
        bool,
        typer.Option("--no-timing", help="Leave out the timing pass that closes the fast pace."),
    ] = False,
    target: Annotated[
        float,
        typer.Option(metavar="N", parser=number, help="Test accuracy that counts as converged."),
    ] = DEFAULT.target,
    threads: Annotated[
        int,
        typer.Option(
            metavar="N", parser=number, help="Threads per framework; results depend on it."
        ),
    ] = DEFAULT.threads,
    out: Out = None,
    json_output: Json = False,
) -> None:
    """Train the study in both frameworks, write a run folder, print the table."""
    settings = Settings(
        variants=split_names(variants),
        frameworks=split_names(frameworks),
        seeds=seeds,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        n_samples=n_samples,
        alignment=alignment,
        undo=split_names(undo),
        dtype=dtype,
        pace=pace,
        target=target,
        threads=threads,
    )
    from compare import report as pages
    from compare import study
    from compare.progress import StudyProgress

    pages.check_installed()
    path = study.default_path() if out is None else out
    with StudyProgress(settings) as progress:
        try:
            say = None if no_timing else progress.say
            folder = study.run_study(settings, path, progress=progress, say=say)
        except KeyboardInterrupt:
            _interrupted(path)
        progress.say("writing the report")
        results = pages.write(folder)
    _print_results(results, path, as_json=json_output)


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="A run folder; several are compared.")
    ],
    json_output: Json = False,
) -> None:
    """Redo table, figures and pages from a run folder; no framework is needed.

    With several folders, compare each with the first, run by run: two versions, or two machines.
    """
    from compare import report as pages
    from compare.records import RunFolder

    opened = [RunFolder.open(folder) for folder in folders]
    if len(opened) > 1:
        _print_versus(opened, as_json=json_output)
        return
    pages.check_installed()
    results = pages.write(opened[0])
    _print_results(results, folders[0], as_json=json_output)


def _print_versus(folders: Sequence[RunFolder], *, as_json: bool) -> None:
    from compare import versus, versus_table
    from compare.terminal import print_grid

    first, *others = folders
    found = [(other, versus.versus(first, other)) for other in others]
    if as_json:
        content = [
            {
                "first": str(first.path),
                "second": str(other.path),
                "changes": versus_table.changes(first.manifest, other.manifest),
                "rows": [one.to_json() for one in rows],
            }
            for other, rows in found
        ]
        print(json.dumps({"comparisons": content}, allow_nan=False))
        return
    for other, rows in found:
        print(f"first: {first.path}\nsecond: {other.path}")
        print_grid(versus_table.HEADINGS, versus_table.lines(rows), left=2)
        changed = versus_table.changes(first.manifest, other.manifest)
        print("\n".join(["", *(changed or ["versions and hardware: the same"]), ""]))


def _print_results(results: Results, path: Path, *, as_json: bool) -> None:
    from compare import stats, table
    from compare.terminal import print_grid

    rows = results.rows
    if as_json:
        content = {"run_dir": str(path), "rows": [stats.row_json(row) for row in rows]}
        print(json.dumps(content, allow_nan=False))
        return
    found = {one.variant: one.verdict for one in results.comparisons if one.metric == _JUDGED}
    headings = table.judged(table.headings(results.settings.target), "verdict")
    lines = [
        table.judged(line, found.get(line[0], table.MISSING))
        for line in table.cells(rows, results.differences)
    ]
    print_grid(headings, lines, left=1)
    print("\n".join(["", *table.tutorial_lines(rows), "", f"run folder: {path}"]))


def _interrupted(path: Path) -> NoReturn:
    from compare.records import RunFolder

    try:
        saved = len(RunFolder.open(path).records())
    except RunFolderError:
        saved = 0
    hint = f"; `bn-compare report {path}` makes a report of them" if saved else ""
    print(f"bn-compare: interrupted: {saved} finished runs are saved{hint}.", file=sys.stderr)
    raise typer.Exit(130)
