"""The command line: `bn-compare`.

Results go to stdout, progress and messages to stderr. Exit codes: 0 fine; 1 a check failed; 2
usage, bad input or a missing framework, in one line; 130 after Ctrl-C. Everything heavy is imported
by the command that needs it, so that help answers at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from compare.errors import CompareError, InputError, RunFolderError
from compare.spec import FRAMEWORKS, VARIANTS, Settings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_DEFAULT = Settings()

# A line of its own with a backspace keeps the line breaks of what follows.
_EXAMPLES = """\b
Examples:
  bn-compare run                        the tutorial's ten networks in both frameworks
  bn-compare run --variants mlp,mlp-bn-after --seeds 5
  bn-compare report runs/20260101-120000
"""
_RUN_EXAMPLES = """\b
Examples:
  bn-compare run
  bn-compare run --variants mlp,mlp-bn-after,mlp-bn-before --seeds 5
  bn-compare run --dtype float64 --variants cnn-bn --json
  bn-compare run --frameworks torch --alignment naive --out runs/naive
"""
_CONVENTIONS_EXAMPLES = """\b
Examples:
  bn-compare conventions
  bn-compare conventions bn-momentum adam-epsilon
  bn-compare conventions --measure                   every one of them: some ten minutes
  bn-compare conventions --measure bn-epsilon --variants cnn-bn --epochs 10 --json
"""
_PARITY_EXAMPLES = """\b
Examples:
  bn-compare parity                                  ten variants, float64, 100 epochs
  bn-compare parity --variants mlp-bn-after,cnn-bn --seeds 5
  bn-compare parity --variants lstm --undo lstm-single-bias
  bn-compare parity --alignment stock --epochs 5 --json
"""
_FLOORS_EXAMPLES = """\b
Examples:
  bn-compare floors > compare/floors.json        ten variants, 20 seeds: some five minutes
  bn-compare floors --variants cnn --seeds 2
"""
_REPORT_EXAMPLES = """\b
Example:
  bn-compare report runs/20260101-120000
"""

_SELFTEST_EXAMPLES = """\b
Examples:
  bn-compare selftest
  bn-compare selftest --quick
  bn-compare selftest --only bn-epsilon,last-batch-dropped --json
"""


def _number(text: str | float) -> int | float | str:
    """A number where it is one; what is none goes on as it is, for `Settings` to name."""
    if not isinstance(text, str):
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


@app.callback(epilog=_EXAMPLES)
def _root() -> None:
    """Batch normalization in Keras and in PyTorch Lightning, under one judge."""


@app.command(epilog=_RUN_EXAMPLES)
def run(
    variants: Annotated[
        str, typer.Option(metavar="A,B", help=f"Of: {', '.join(VARIANTS)}.")
    ] = ",".join(_DEFAULT.variants),
    frameworks: Annotated[
        str, typer.Option(metavar="A,B", help=f"Of: {', '.join(FRAMEWORKS)}.")
    ] = ",".join(_DEFAULT.frameworks),
    seeds: Annotated[
        int, typer.Option(metavar="N", parser=_number, help="Seeds 0 … N-1.")
    ] = _DEFAULT.seeds,
    epochs: Annotated[
        int, typer.Option(metavar="N", parser=_number, help="Passes over the training half.")
    ] = _DEFAULT.epochs,
    batch_size: Annotated[
        int,
        typer.Option(
            metavar="N", parser=_number, help="Samples per step; the short last batch is kept."
        ),
    ] = _DEFAULT.batch_size,
    learning_rate: Annotated[
        float, typer.Option(metavar="N", parser=_number, help="Of SGD.")
    ] = _DEFAULT.learning_rate,
    n_samples: Annotated[
        int,
        typer.Option(
            metavar="N", parser=_number, help="Points; the first half trains, the second tests."
        ),
    ] = _DEFAULT.n_samples,
    alignment: Annotated[
        str, typer.Option(help="How far the port matches Keras: exact, stock or naive.")
    ] = _DEFAULT.alignment,
    undo: Annotated[
        str, typer.Option(metavar="A,B", help="Conventions to leave unmatched, by name.")
    ] = "",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = _DEFAULT.dtype,
    pace: Annotated[
        str, typer.Option(help="idiomatic: model.fit and Trainer.fit.")
    ] = _DEFAULT.pace,
    target: Annotated[
        float,
        typer.Option(metavar="N", parser=_number, help="Test accuracy that counts as converged."),
    ] = _DEFAULT.target,
    threads: Annotated[
        int,
        typer.Option(
            metavar="N", parser=_number, help="Threads per framework; results depend on it."
        ),
    ] = _DEFAULT.threads,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New folder; runs/<date>-<time> if left out.")
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")
    ] = False,
) -> None:
    """Train the study in both frameworks, write a run folder, print the table."""
    settings = Settings(
        variants=_names(variants),
        frameworks=_names(frameworks),
        seeds=seeds,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        n_samples=n_samples,
        alignment=alignment,
        undo=_names(undo),
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
            folder = study.run_study(settings, path, progress=progress)
        except KeyboardInterrupt:
            _interrupted(path)
        progress.say("writing the report")
        pages.write(folder)
    _print_results(path, as_json=json_output)


@app.command(epilog=_REPORT_EXAMPLES)
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")],
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")
    ] = False,
) -> None:
    """Redo table, figures and pages from a run folder; no framework is needed."""
    from compare import report as pages
    from compare.records import RunFolder

    pages.check_installed()
    pages.write(RunFolder.open(folder))
    _print_results(folder, as_json=json_output)


@app.command(epilog=_PARITY_EXAMPLES)
def parity(
    variants: Annotated[
        str, typer.Option(metavar="A,B", help=f"Of: {', '.join(VARIANTS)}.")
    ] = ",".join(_DEFAULT.variants),
    seeds: Annotated[
        int, typer.Option(metavar="N", parser=_number, help="Seeds 0 … N-1.")
    ] = _DEFAULT.seeds,
    epochs: Annotated[
        int, typer.Option(metavar="N", parser=_number, help="Of the trajectory.")
    ] = _DEFAULT.epochs,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
    alignment: Annotated[str, typer.Option(help="exact, stock or naive.")] = _DEFAULT.alignment,
    undo: Annotated[
        str, typer.Option(metavar="A,B", help="Conventions to leave unmatched, by name.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="New folder; runs/parity-<date>-<time> if left out."),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")
    ] = False,
) -> None:
    """Climb the ladder with every variant: are the two the same computation? Exit 1 if not."""
    settings = Settings(
        variants=_names(variants),
        seeds=seeds,
        epochs=epochs,
        dtype=dtype,
        alignment=alignment,
        undo=_names(undo),
    )
    from compare import parity_report

    reports = parity_report.run(settings, out)
    parity_report.show(reports, as_json=json_output)
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


@app.command(epilog=_FLOORS_EXAMPLES)
def floors(
    variants: Annotated[
        str, typer.Option(metavar="A,B", help=f"Of: {', '.join(VARIANTS)}.")
    ] = ",".join(_DEFAULT.variants),
    seeds: Annotated[int, typer.Option(metavar="N", parser=_number, help="Seeds 0 … N-1.")] = 20,
) -> None:
    """Measure float32's noise floor, rung by rung: Keras with XLA against Keras without."""
    settings = Settings(variants=_names(variants), frameworks=("keras",), seeds=seeds, epochs=1)
    from compare.floors import measure
    from compare.frameworks import check_installed
    from compare.progress import StudyProgress

    check_installed(["keras"])
    with StudyProgress(settings) as progress:
        found = measure(settings, lambda run: progress(run, 1))
    print(json.dumps(found, indent=1))


@app.command(epilog=_CONVENTIONS_EXAMPLES)
def conventions(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Only these; all if left out.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Leave out one remedy at a time, train, and rank.")
    ] = False,
    variants: Annotated[
        str, typer.Option(metavar="A,B", help="Where to measure; one of each family if left out.")
    ] = "",
    epochs: Annotated[
        int, typer.Option(metavar="N", parser=_number, help="Of each training.")
    ] = _DEFAULT.epochs,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")
    ] = False,
) -> None:
    """Every known difference between the frameworks; with --measure, what each one costs."""
    from compare import conventions_report

    if variants and not measure:
        raise InputError("--variants says where to measure: give --measure too.")
    if measure:
        conventions_report.print_effects(
            names or (), _names(variants), epochs=epochs, as_json=json_output
        )
    else:
        conventions_report.print_catalogue(names or (), as_json=json_output)


@app.command(epilog=_SELFTEST_EXAMPLES)
def selftest(
    quick: Annotated[
        bool, typer.Option("--quick", help="One bug per rung, no search for smallest sizes.")
    ] = False,
    only: Annotated[str, typer.Option(metavar="A,B", help="Bugs to inject, by name.")] = "",
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")
    ] = False,
) -> None:
    """Inject known port bugs; every one must be caught on its rung, with its layer blamed."""
    from compare import selftest_command

    raise typer.Exit(selftest_command.run(_names(only), only_quick=quick, as_json=json_output))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _print_results(path: Path, *, as_json: bool) -> None:
    from compare import stats, table
    from compare.records import RunFolder

    folder = RunFolder.open(path)
    records = folder.records()
    rows = stats.rows(records)
    if as_json:
        content = {"run_dir": str(path), "rows": [stats.row_json(row) for row in rows]}
        print(json.dumps(content, allow_nan=False))
        return
    from rich.table import Column, Table

    from compare.terminal import console

    first, *others = table.headings(folder.settings.target)
    grid = Table(Column(first, no_wrap=True), *(Column(name, justify="right") for name in others))
    for line in table.cells(rows, stats.differences(folder, records)):
        grid.add_row(*line)
    console().print(grid)
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


def main() -> None:
    """Run the command line and exit; every expected error is one line on stderr."""
    try:
        code = app(standalone_mode=False)
    except CompareError as error:
        _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:
        # Typer's own errors (an unknown option, a word for a number) know how to say it.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        _fail(f"{message()} See `bn-compare --help`.")
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    print(f"bn-compare: error: {message}", file=sys.stderr)
    sys.exit(2)
