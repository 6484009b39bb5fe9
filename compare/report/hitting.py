"""The share of seeds at the target by epoch, one panel per variant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from compare.analysis.arrivals import BATCH, MOVING
from compare.analysis.convergence import Convergence
from compare.report.figures import PENS, dashed, entry, own_style, sides
from compare.wording import LABELS

_DASHES: dict[str, tuple[float, ...]] = {MOVING: (), BATCH: (4, 2)}


def hitting_times(found: Sequence[Convergence], epochs: int) -> Figure:
    """Empirical distribution of the epochs to the target; curves end below 1 where runs miss it.

    Args:
        found: At least one; several of a variant share its panel.
        epochs: Number of epochs that every run was watched for.
    """
    groups: dict[str, list[Convergence]] = {}
    for one in found:
        groups.setdefault(one.variant, []).append(one)
    rows = math.ceil(len(groups) / 2)
    with own_style(**{"font.size": 8.5}):
        figure = Figure(figsize=(5.0, 1.0 + 1.55 * rows), layout="constrained")
        panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (variant, curves) in zip(panels, groups.items(), strict=False):
            axes.set_title(variant, loc="left", fontsize="medium")
            for curve in curves:
                _draw(axes, curve, epochs)
            _name_misses(axes, curves)
        for axes in panels[len(groups) :]:
            axes.set_axis_off()
        panels[0].set(ylim=(-0.04, 1.04), yticks=(0, 0.5, 1))
        panels[0].xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        for axes in panels[: len(groups)][-2:]:
            axes.set_xlabel(f"epochs to {100 * found[0].target:g} %")
            axes.tick_params(labelbottom=True)
        for axes in panels[::2]:
            axes.set_ylabel("share of seeds")
        handles = sides(one.framework for one in found)
        if any(one.curve == BATCH for one in found):
            handles.append(entry("moving statistics"))
            handles.append(entry("batch statistics", linestyle=dashed(_DASHES[BATCH], 1.2)))
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw(axes: Axes, one: Convergence, last: int) -> None:
    pen = PENS[one.framework]
    end = one.ecdf[-1][1] if one.ecdf else 0.0
    epochs = [0, *(epoch for epoch, _ in one.ecdf), last]
    shares = [0.0, *(share for _, share in one.ecdf), end]
    style = dashed(_DASHES[one.curve], pen.width)
    axes.step(epochs, shares, where="post", color=pen.color, linewidth=pen.width, linestyle=style)


def _name_misses(axes: Axes, curves: Sequence[Convergence]) -> None:
    missed = [
        f"{LABELS[one.framework]}: {one.runs - one.arrived} of {one.runs} never"
        for one in curves
        if one.arrived < one.runs and one.curve == MOVING
    ]
    if missed:
        look: dict[str, Any] = {"transform": axes.transAxes, "fontsize": "small", "ha": "right"}
        axes.text(0.98, 0.06, "\n".join(missed), va="bottom", **look)
