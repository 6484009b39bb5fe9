"""Learning curves: both frameworks over each other, means over seeds with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from compare.analysis.summary import band, matrix
from compare.report.figures import (
    INK,
    PENS,
    Pen,
    dashed,
    entry,
    line,
    own_style,
    shade,
    sides,
    title_of,
)
from compare.study.records import Record

_DASHES: dict[str, tuple[float, ...]] = {
    "test": (),
    "train": (7, 3),
    "train, while training": (1.5, 2.5),
    "test, batch statistics": (8, 2.5, 1.5, 2.5),
}
"""Kind of curve → lengths of dashes and gaps in points; empty is solid."""

ACCURACIES = (
    "test_accuracy",
    "train_accuracy",
    "running_train_accuracy",
    "batch_statistics_test_accuracy",
)
LOSSES = ("test_loss", "train_loss", "running_train_loss")
"""Histories of a panel, in the order of `_DASHES`."""

_SHADED = ("test_accuracy", "batch_statistics_test_accuracy", "test_loss")
_MOST_LOST = 8


def learning_curves(variant: str, records: Sequence[Record], target: float) -> Figure:
    """Accuracy and loss by epoch, both frameworks over each other.

    Curves are means over the runs that did not diverge; the test curves have their interval
    around them. The test curve of a run that diverged is a thin line that ends in a cross.

    Args:
        variant: Name of the variant.
        records: Runs of the study; those of other variants are left out.
        target: The test accuracy that counts as converged, drawn as a horizontal line.

    Returns:
        The figure, accuracy above loss.
    """
    runs = [record for record in records if record["variant"] == variant]
    with own_style():
        figure = Figure(figsize=(5.0, 6.2), layout="constrained")
        panels = figure.subplots(2, 1, sharex=True)
        for axes, keys in zip(panels, (ACCURACIES, LOSSES), strict=True):
            for framework, pen in PENS.items():
                mine = [run for run in runs if run["framework"] == framework]
                _draw_side(axes, pen, mine, keys)
        panels[0].axhline(target, color=INK, linewidth=0.8, alpha=0.7, zorder=1)
        panels[0].set_title(title_of(variant), loc="left")
        panels[0].set(ylabel="accuracy")
        panels[1].set(xlabel="epoch", ylabel="loss")
        panels[1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        _limit_loss(panels[1], runs)
        look: dict[str, Any] = {"loc": "outside lower center", "ncols": 2, "handlelength": 3.2}
        figure.legend(handles=_legend(runs, target), **look)
    return figure


def _draw_side(axes: Axes, pen: Pen, runs: Sequence[Record], keys: Sequence[str]) -> None:
    for key, dashes in zip(keys, _DASHES.values(), strict=False):
        middle = band(matrix(runs, key))
        if middle is None:
            continue
        if key in _SHADED:
            shade(axes, middle, pen.color)
        look = {"linewidth": pen.width, "linestyle": dashed(dashes, pen.width)}
        line(axes, middle.mean, color=pen.color, **look)
    for run in [run for run in runs if run["status"] != "ok"][:_MOST_LOST]:
        _draw_lost(axes, pen, run, keys[0])


def _draw_lost(axes: Axes, pen: Pen, run: Record, key: str) -> None:
    curve = np.array(run.get("history", {}).get(key) or (), dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(curve))
    if len(finite):
        end = finite[-1]
        line(axes, curve, color=pen.color, linewidth=0.4 * pen.width, alpha=0.45)
        axes.plot(end + 1, curve[end], "x", color=pen.color, markersize=7, markeredgewidth=1.5)


def _limit_loss(axes: Axes, runs: Sequence[Record]) -> None:
    """Keep a run that diverged from flattening the others."""
    fine = [run for run in runs if run["status"] == "ok"]
    if 0 < len(fine) < len(runs):
        top = max(float(matrix(fine, key).max(initial=0.0)) for key in LOSSES)
        axes.set_ylim(0.0, 1.1 * top or None)


def _legend(runs: Sequence[Record], target: float) -> list[Line2D]:
    handles = sides(run["framework"] for run in runs)
    handles.append(entry(f"target: {100 * target:g} %", linewidth=0.8, alpha=0.7))
    for key, (kind, dashes) in zip(ACCURACIES, _DASHES.items(), strict=True):
        if any(run.get("history", {}).get(key) for run in runs):
            handles.append(entry(kind, linestyle=dashed(dashes, 1.2)))
    if any(run["status"] != "ok" for run in runs):
        handles.append(entry("diverged", linestyle="", marker="x"))
    return handles
