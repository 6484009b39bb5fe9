"""`bn-compare time`: measure, save after every repetition, show."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compare import environment
from compare.backends.protocol import check_installed
from compare.errors import RunFolderError
from compare.report.figures import save as save_figure
from compare.spec import FRAMEWORKS
from compare.study.records import check_writable, json_number, write_text
from compare.terminal import console
from compare.timing import plots, table
from compare.timing.measure import measure_variant
from compare.timing.records import FILE, FORMAT, TimingRecords
from compare.timing.samples import Measurements, Plan
from compare.timing.scaling import measure_scaling
from compare.timing.summary import crossing, envelope, figures, other_cores, ratios


def run(plan: Plan, path: Path, *, say: Callable[[str], None]) -> Measurements:
    """Carry out a plan; `timing.json` is rewritten after every repetition.

    Args:
        plan: What to time.
        path: A new or empty folder; made once something was measured.
        say: Told what is under way.

    Raises:
        InputError: A GPU was asked for, and there is none.
        MissingDependencyError: A framework is not installed.
        RunFolderError: `path` cannot be used.
    """
    check_installed(FRAMEWORKS)
    check_writable(path)
    measurements = Measurements()
    header = _header(plan)

    def save() -> None:
        path.mkdir(parents=True, exist_ok=True)
        content = {**header, **to_json(plan, measurements), "raw": measurements.raw()}
        write_text(path / FILE, json.dumps(content, allow_nan=False, indent=1) + "\n")

    for variant in plan.settings.variants:
        measure_variant(variant, plan, measurements, save=save, say=say)
    if plan.scaling:
        measure_scaling(plan, measurements, save=save, say=say)
    measurements.complete = True
    save()
    _write_pages(plan, measurements, path)
    return measurements


def redo(path: Path, *, as_json: bool) -> None:
    """Write the pages again from `timing.json` alone, also of an interrupted timing, and show them.

    Args:
        path: A folder of `bn-compare time`.
        as_json: Whether to print JSON instead of tables.

    Raises:
        RunFolderError: The records cannot be read, or the folder cannot be written to.
    """
    records = TimingRecords.open(path / FILE)
    try:
        _write_pages(records.plan, records.measurements, path)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot write the pages: {error}") from error
    if as_json:
        # Not made anew: versions are those of the machine that measured.
        content = {name: value for name, value in records.content.items() if name != "raw"}
        print(json.dumps({"run_dir": str(path), **content}, allow_nan=False))
        return
    show(records.plan, records.measurements, path, as_json=False)


def _write_pages(plan: Plan, measurements: Measurements, path: Path) -> None:
    found, pairs = figures(plan, measurements), ratios(measurements)
    write_text(path / "timing.csv", table.csv_text(found))
    write_text(path / "timing.md", table.markdown(plan, measurements, found, pairs))
    folder = path / "figures"
    folder.mkdir(exist_ok=True)
    if any(figure.epoch_seconds is not None for figure in found):
        save_figure(plots.epoch_seconds(found, measurements.samples), folder, "epoch-seconds")
    if measurements.points:
        save_figure(plots.scaling(measurements), folder, "scaling")


def _header(plan: Plan) -> dict[str, Any]:
    return {
        **FORMAT.header(),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["bn-compare", *sys.argv[1:]],
        "settings": plan.to_dict(),
        "hardware": environment.hardware(),
        "threads": plan.settings.threads,
        "git_commit": environment.git_commit(),
        "about": table.wording(plan),
    }


def to_json(plan: Plan, measurements: Measurements) -> dict[str, Any]:
    """Figures, ratios and scaling as JSON types; null where there is no number."""
    scaling = [
        {
            "axis": axis,
            "framework": framework,
            "kind": kind,
            "step_seconds": {str(size): json_number(v) for size, v in sorted(curve.items())},
            "arithmetic_from": crossing(curve),
        }
        for (axis, framework, kind), curve in envelope(measurements.points).items()
    ]
    live = {k: v for report in measurements.reports.values() for k, v in report.items()}
    live.pop("accelerator", None)
    return {
        "complete": measurements.complete,
        "versions": {**environment.versions(), **live},
        "accelerator": {name: r["accelerator"] for name, r in measurements.reports.items()},
        "figures": [asdict(figure) for figure in figures(plan, measurements)],
        "ratios": [asdict(ratio) for ratio in ratios(measurements)],
        "scaling": scaling,
        "left_out": measurements.left_out,
        "waited_seconds": measurements.waited,
        "other_cores": other_cores(measurements.samples),
    }


def show(plan: Plan, measurements: Measurements, path: Path, *, as_json: bool) -> None:
    """Print the tables, or the JSON, on stdout."""
    if as_json:
        content = {"run_dir": str(path), **to_json(plan, measurements)}
        print(json.dumps(content, allow_nan=False))
        return
    from rich.table import Column, Table

    found = figures(plan, measurements)
    names, others = table.headings(plan)[:3], table.headings(plan)[3:]
    columns = [Column(name, no_wrap=True) for name in names]
    columns += [Column(name, justify="right") for name in others]
    grid = Table(*columns, padding=(0, 0, 0, 1))
    for line in table.cells(found):
        grid.add_row(*line)
    console().print(grid)
    scaling = table.scaling_lines(measurements)
    lines = [
        *table.notes(found),
        *table.failures(found),
        "",
        "Keras / Lightning, seconds per epoch:",
        *table.ratio_lines(ratios(measurements)),
        "",
        *scaling,
        *(f"left out: {line}" for line in measurements.left_out),
        *([""] if scaling else []),
        table.wording(plan),
        table.load_line(measurements),
        "",
        f"folder: {path}",
    ]
    print("\n".join(lines))


def interrupted(path: Path) -> str:
    """What Ctrl-C left, in one line."""
    file = path / FILE
    if not file.is_file():
        return "interrupted: nothing was measured."
    samples = json.loads(file.read_text(encoding="utf-8"))["raw"]["samples"]
    return (
        f"interrupted: {len(samples)} fits are saved in {file}; "
        f"`bn-compare report {path}` makes tables of them."
    )
