"""`bn-compare parity`: the ladder over a grid of built-in variants and seeds, shown and saved."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compare import environment
from compare.backends.loading import check_installed
from compare.console import StudyProgress, console
from compare.parity.ladder import RUNGS, nan_last
from compare.parity.report import VariantReport
from compare.parity.twins import Side, check_pair
from compare.spec import FRAMEWORKS, Settings
from compare.study.records import check_writable, json_number, write_text
from compare.study.run import default_path
from compare.study.workers import Worker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAINTEST = 1e-18
"""Zero has no logarithm; in the heat map it is drawn like this, the lightest colour."""


def run(settings: Settings, out: Path | None) -> list[VariantReport]:
    """Check every pair of a grid and save `parity.json` and the heat map.

    Args:
        settings: Variants, seeds and how they train; both frameworks whatever it names.
        out: A new or empty folder; None for `runs/parity-<date>-<time>`.

    Returns:
        One report per variant and seed.

    Raises:
        MissingDependencyError: A framework is not installed.
        RunFolderError: `out` cannot be used.
    """
    check_installed(FRAMEWORKS)
    path = default_path(prefix="parity-") if out is None else out
    check_writable(path)
    reports: list[VariantReport] = []
    with ExitStack() as stack:
        progress = stack.enter_context(StudyProgress(settings))

        try:
            sides = _sides(settings, stack)
            for variant, seed in product(settings.variants, range(settings.seeds)):
                report = check_pair(variant, seed, settings, sides, progress)
                reports.append(report)
        finally:
            # After Ctrl-C too: a pair that was checked stays checked.
            if reports:
                save(reports, settings, path)
                progress.say(f"{len(reports)} pairs saved in {path}")
    return reports


def _sides(settings: Settings, stack: ExitStack) -> dict[str, Side]:
    """A process per framework, and in float32 a second one that trains in float64."""
    double = replace(settings, dtype="float64")
    workers = {
        (name, each.dtype): stack.enter_context(Worker(name, each))
        for each in dict.fromkeys((settings, double))
        for name in FRAMEWORKS
    }
    for worker in workers.values():
        worker.ready()
    return {
        name: Side(workers[name, settings.dtype], workers[name, "float64"]) for name in FRAMEWORKS
    }


def save(reports: Sequence[VariantReport], settings: Settings, path: Path) -> None:
    """Write `parity.json`, the differences per layer and epoch, and their figure."""
    path.mkdir(parents=True, exist_ok=True)
    heat = {report.label: _heat_json(report) for report in reports}
    content = {
        **to_json(reports),
        "settings": settings.to_dict(),
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "heat": heat,
    }
    write_text(path / "parity.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    if not any(heat.values()):
        return  # No pair could be trained.
    try:
        from compare.report import figures
    except ModuleNotFoundError:
        return  # The figure is an extra; the numbers are in the file.
    figures.save(heat_map(heat), path, "heat-map")


def _heat_json(report: VariantReport) -> dict[str, list[float | None]] | None:
    if report.heat is None:
        return None
    return {layer: [json_number(v) for v in curve] for layer, curve in report.heat.items()}


def heat_map(heat: Mapping[str, Mapping[str, Sequence[float | None]] | None]) -> Figure:
    """Layer × epoch, largest absolute difference of weights and statistics, on a log scale.

    Args:
        heat: "variant, seed" → layer → difference after every epoch, as in `parity.json`; None
            where a side could not be trained. Seeds of a variant are joined by their maximum.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    rows: dict[str, np.ndarray] = {}
    for label, curves in heat.items():
        for layer, curve in (curves or {}).items():
            name = f"{label.partition(',')[0]}: {layer}"
            values = np.asarray(curve, dtype=np.float64)
            rows[name] = np.maximum(rows[name], values) if name in rows else values
    # What is not finite is left white: that pair diverged.
    image = np.ma.masked_invalid(np.maximum(np.stack(list(rows.values())), FAINTEST))
    figure = Figure(figsize=(9, 1.4 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    top = max(float(image.filled(FAINTEST).max()), 1e-15)
    drawn = axes.imshow(
        image,
        aspect="auto",
        interpolation="nearest",
        norm=LogNorm(FAINTEST, top),
        cmap="viridis_r",
        extent=(0.5, image.shape[1] + 0.5, len(rows) - 0.5, -0.5),
    )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_xlabel("epoch")
    axes.set_title("largest |Keras − Lightning| of weights and moving statistics")
    figure.colorbar(drawn, ax=axes, label="largest absolute difference")
    return figure


def to_json(reports: Sequence[VariantReport]) -> dict[str, Any]:
    """What `--json` prints."""
    pairs = [report.to_json() for report in reports]
    return {"passed": all(report.passed for report in reports), "pairs": pairs}


def show(reports: Sequence[VariantReport], *, as_json: bool) -> None:
    """Print the reports on stdout: JSON, or the ladder and the verdicts."""
    if as_json:
        print(json.dumps(to_json(reports), allow_nan=False))
        return
    console().print(_table(reports))
    print("\n".join(["", *(line for report in reports for line in report.verdict())]))
    for report in reports:
        if report.note:
            print(f"{report.label}: {report.note}.")
    failed = sum(not report.passed for report in reports)
    print(f"{len(reports) - failed} of {len(reports)} pairs are the same computation.")


def _table(reports: Sequence[VariantReport]) -> Any:
    """Rungs × variants; in each cell the worst difference over the seeds, failures marked."""
    from rich.table import Column, Table

    variants = list(dict.fromkeys(report.variant for report in reports))
    grid = Table(
        Column("rung", no_wrap=True),
        *(Column(v, justify="right", overflow="fold") for v in variants),
    )
    for rung, name in RUNGS.items():
        cells = []
        for variant in variants:
            results = [
                result
                for report in reports
                if report.variant == variant
                for result in report.rungs
                if result.rung == rung
            ]
            numbers = [r.max_abs for r in results if r.max_abs is not None]
            mark = "" if all(r.passed for r in results) else "✗ "
            cells.append(f"{mark}{max(numbers, key=nan_last):.1e}" if numbers else "–")
        grid.add_row(f"{rung} {name}", *cells)
    return grid
