"""Seconds per epoch of `model.fit` and `Trainer.fit`."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from compare.analysis.paced import EpochSeconds
from compare.report.figures import PENS, own_style, sides

_SHIFT = {"keras": -0.14, "torch": 0.14}


def seconds(found: Sequence[EpochSeconds]) -> Figure:
    """A dot at the median, a line over most epochs, by variant and framework; log scale.

    Args:
        found: At least one.
    """
    variants = list(dict.fromkeys(entry.variant for entry in found))
    with own_style():
        figure = Figure(figsize=(5.0, 1.2 + 0.36 * len(variants)), layout="constrained")
        axes = figure.subplots()
        for one in found:
            height = variants.index(one.variant) + _SHIFT[one.framework]
            pen = PENS[one.framework]
            axes.plot([one.low, one.high], [height] * 2, color=pen.color, linewidth=2)
            axes.plot([one.median], [height], "o", color=pen.color, markersize=6)
        axes.set_yticks(range(len(variants)), variants)
        axes.set_ylim(len(variants) - 0.5, -0.5)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="seconds per epoch (log scale)")
        handles = sides(one.framework for one in found)
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure
