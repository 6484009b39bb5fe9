"""Test accuracy by epoch of a few variants side by side: one wide figure."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from compare.analysis.arrivals import BATCH, MOVING
from compare.analysis.curves import band, matrix
from compare.report.figures import INK, PENS, dashed, entry, line, own_style, shade, sides, title_of
from compare.study.records import Record

_KINDS = {
    MOVING: ("evaluated with moving statistics", ()),
    BATCH: ("with batch statistics", (8.0, 2.5, 1.5, 2.5)),
}
"""History → what it is called, and its dashes in points; empty is solid."""


def accuracies(records: Sequence[Record], variants: Sequence[str], target: float) -> Figure:
    """Means over seeds with their intervals, both frameworks over each other.

    Args:
        records: Runs of a study.
        variants: Which of them to show, from left to right.
        target: The test accuracy that counts as converged, drawn as a horizontal line.

    Returns:
        The figure, one panel per variant on one scale.
    """
    with own_style():
        figure = Figure(figsize=(6.9, 3.0), layout="constrained")
        panels = figure.subplots(1, len(variants), sharey=True, squeeze=False)[0]
        for axes, variant in zip(panels, variants, strict=True):
            _draw(axes, [run for run in records if run["variant"] == variant])
            axes.axhline(target, color=INK, linewidth=0.8, alpha=0.7, zorder=1)
            axes.set_title(title_of(variant), loc="left", fontsize=9.5)
            axes.set(xlabel="epoch")
        panels[0].set(ylabel="test accuracy")
        figure.legend(handles=_legend(records, target), loc="outside lower center", ncols=3)
    return figure


def _draw(axes: Axes, runs: Sequence[Record]) -> None:
    for framework, pen in PENS.items():
        mine = [run for run in runs if run["framework"] == framework]
        for key, (_, dashes) in _KINDS.items():
            middle = band(matrix(mine, key))
            if middle is not None:
                shade(axes, middle, pen.color)
                style = dashed(dashes, pen.width)
                line(axes, middle.mean, color=pen.color, linewidth=pen.width, linestyle=style)


def _legend(records: Sequence[Record], target: float) -> list[Line2D]:
    kinds = [entry(label, linestyle=dashed(dashes, 1.2)) for label, dashes in _KINDS.values()]
    frameworks = sides(run["framework"] for run in records)
    return [*frameworks, *kinds, entry(f"target: {100 * target:g} %", linewidth=0.8, alpha=0.7)]
