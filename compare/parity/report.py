"""`bn-compare parity`: the ladder over a grid of variants and seeds, shown and saved."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from compare import environment
from compare.backends.protocol import check_installed
from compare.console import StudyProgress, console
from compare.parity.ladder import RUNGS, nan_last
from compare.parity.trajectories import Heat
from compare.parity.twins import PairReport, Side, check_pair
from compare.spec import FRAMEWORKS, Run, Settings
from compare.study.records import check_writable, json_number, write_text
from compare.study.run import default_path
from compare.study.workers import Worker


def run(settings: Settings, out: Path | None) -> list[PairReport]:
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
    reports: list[PairReport] = []
    with ExitStack() as stack:
        progress = stack.enter_context(StudyProgress(settings))
        try:
            _check(settings, _sides(settings, stack), progress, reports)
        finally:
            # After Ctrl-C too: a pair that was checked stays checked.
            if reports:
                save(reports, settings, path)
                progress.say(f"{len(reports)} pairs saved in {path}")
    return reports


def _check(
    settings: Settings,
    sides: Mapping[str, Side],
    progress: StudyProgress,
    reports: list[PairReport],
) -> None:
    for variant in settings.variants:
        for seed in range(settings.seeds):

            def on_epoch(name: str, epoch: int, pair: tuple[str, int] = (variant, seed)) -> None:
                progress(Run(pair[0], name, pair[1]), epoch)

            reports.append(check_pair(variant, seed, settings, sides, on_epoch))


def _sides(settings: Settings, stack: ExitStack) -> dict[str, Side]:
    """A process per framework, and in float32 a second one that trains in float64."""
    double = replace(settings, dtype="float64")
    workers = {
        (name, one.dtype): stack.enter_context(Worker(name, one))
        for one in dict.fromkeys((settings, double))
        for name in FRAMEWORKS
    }
    for worker in workers.values():
        worker.ready()
    return {
        name: Side(workers[name, settings.dtype], workers[name, "float64"]) for name in FRAMEWORKS
    }


def save(reports: Sequence[PairReport], settings: Settings, path: Path) -> None:
    """Write `parity.json`, the differences per layer and epoch, and their figure."""
    path.mkdir(parents=True, exist_ok=True)
    content = {
        **to_json(reports),
        "settings": settings.to_dict(),
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "heat": {f"{r.variant}, seed {r.seed}": _finite(r.heat) for r in reports},
    }
    write_text(path / "parity.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    if not any(report.heat for report in reports):
        return  # No pair could be trained.
    try:
        from compare.parity import heatmap
        from compare.report import figures
    except ModuleNotFoundError:
        return  # The figure is an extra; the numbers are in the file.
    figures.save(heatmap.heat_map(reports), path, "heat-map")


def _finite(heat: Heat | None) -> dict[str, list[float | None]] | None:
    if heat is None:
        return None
    return {layer: [json_number(v) for v in curve] for layer, curve in heat.items()}


def to_json(reports: Sequence[PairReport]) -> dict[str, Any]:
    """What `--json` prints."""
    pairs = [report.to_json() for report in reports]
    return {"passed": all(report.passed for report in reports), "pairs": pairs}


def show(reports: Sequence[PairReport], *, as_json: bool) -> None:
    """Print the reports on stdout: JSON, or the ladder and the verdicts."""
    if as_json:
        print(json.dumps(to_json(reports), allow_nan=False))
        return
    console().print(_table(reports))
    print("\n".join(["", *(verdict(report) for report in reports if not report.passed)]))
    for report in reports:
        if report.note:
            print(f"{report.variant}, seed {report.seed}: {report.note}.")
    failed = sum(not report.passed for report in reports)
    print(f"{len(reports) - failed} of {len(reports)} pairs are the same computation.")


def _table(reports: Sequence[PairReport]) -> Any:
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
            found = [x for r in reports if r.variant == variant for x in r.rungs if x.rung == rung]
            numbers = [x.max_abs for x in found if x.max_abs is not None]
            mark = "" if all(x.passed for x in found) else "✗ "
            cells.append(f"{mark}{max(numbers, key=nan_last):.1e}" if numbers else "–")
        grid.add_row(f"{rung} {name}", *cells)
    return grid


def verdict(report: PairReport) -> str:
    """The first divergence of a pair in words; empty where it passed."""
    first = report.first_divergence
    if first is None:
        return ""
    result = next(rung for rung in report.rungs if rung.rung == first.rung)
    when = (
        ""
        if first.step is None
        else f", {'epoch' if first.rung in (2, 10, 11) else 'step'} {first.step}"
    )
    why = ", ".join(first.explained_by) or "no known convention"
    return (
        f"{report.variant}, seed {report.seed}: first differs on rung {first.rung} "
        f"({first.rung_name}{when}), {first.layer}. Explained by: {why}.\n"
        f"  worst there: {result.where}; allowed {result.allowed:.1e}, required "
        f"{result.required:.1e}"
    )
