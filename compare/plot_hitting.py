"""The share of seeds at the target by epoch, one panel per variant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from compare.hitting import Arrivals
from compare.plots import PENS, dashed, entry, own_style, sides
from compare.table import LABELS

_DASHES: dict[str, tuple[float, ...]] = {"moving": (), "batch": (4, 2)}


def hitting_times(found: Mapping[str, Sequence[Arrivals]], target: float) -> Figure:
    """Empirical distribution of the epochs to the target; curves end below 1 where runs miss it.

    Args:
        found: Variant → its arrivals.
        target: The test accuracy that counts as converged.
    """
    rows = math.ceil(len(found) / 2)
    with own_style(**{"font.size": 8.5}):
        figure = Figure(figsize=(5.0, 1.0 + 1.55 * rows), layout="constrained")
        panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (variant, curves) in zip(panels, found.items(), strict=False):
            axes.set_title(variant, loc="left", fontsize="medium")
            for curve in curves:
                _draw(axes, curve)
            _name_misses(axes, curves)
        for axes in panels[len(found) :]:
            axes.set_axis_off()
        panels[0].set(ylim=(-0.04, 1.04), yticks=(0, 0.5, 1))
        panels[0].xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        for axes in panels[: len(found)][-2:]:
            axes.set_xlabel(f"epochs to {100 * target:g} %")
            axes.tick_params(labelbottom=True)
        for axes in panels[::2]:
            axes.set_ylabel("share of seeds")
        drawn = [curve for curves in found.values() for curve in curves]
        handles = sides(curve.framework for curve in drawn)
        if any(curve.statistics == "batch" for curve in drawn):
            handles.append(entry("moving statistics"))
            handles.append(entry("batch statistics", linestyle=dashed(_DASHES["batch"], 1.2)))
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw(axes: Axes, curve: Arrivals) -> None:
    pen = PENS[curve.framework]
    steps = curve.steps()
    end = steps[-1][1] if steps else 0.0
    epochs = [0, *(epoch for epoch, _ in steps), curve.last]
    shares = [0.0, *(share for _, share in steps), end]
    style = dashed(_DASHES[curve.statistics], pen.width)
    axes.step(epochs, shares, where="post", color=pen.color, linewidth=pen.width, linestyle=style)


def _name_misses(axes: Axes, curves: Sequence[Arrivals]) -> None:
    missed = [
        f"{LABELS[curve.framework]}: {curve.missed} of {curve.runs} never"
        for curve in curves
        if curve.missed and curve.statistics == "moving"
    ]
    if missed:
        look: dict[str, Any] = {
            "transform": axes.transAxes,
            "fontsize": "small",
            "ha": "right",
            "va": "bottom",
        }
        axes.text(0.98, 0.06, "\n".join(missed), **look)
