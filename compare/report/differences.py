"""Difference curves: Lightning − Keras by epoch, of runs matched by seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from compare.analysis.curves import Band, band, gaps
from compare.analysis.pairing import Pair
from compare.data import Array
from compare.report.figures import INK, PENS, entry, line, own_style, shade
from compare.wording import LABELS

HISTORIES = {"test_accuracy": "test accuracy", "test_loss": "test loss"}


def difference_curves(pairs: Sequence[Pair]) -> Figure:
    """Differences of test accuracy and of test loss, mean, interval and range over pairs.

    Args:
        pairs: Pairs of one variant.

    Returns:
        The figure, accuracy above loss.
    """
    color = PENS["torch"].color
    with own_style():
        figure = Figure(figsize=(5.0, 4.6), layout="constrained")
        panels = figure.subplots(2, 1, sharex=True)
        for axes, (key, label) in zip(panels, HISTORIES.items(), strict=True):
            apart = gaps(pairs, key)
            middle = band(apart)
            axes.axhline(0.0, color=INK, linewidth=0.8, alpha=0.7)
            axes.set(ylabel=label)
            if middle is not None:
                _draw(axes, middle, apart, color)
        panels[0].set_title(f"{LABELS['torch']} − {LABELS['keras']}", loc="left")
        panels[1].set(xlabel="epoch")
        panels[1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        handles = [
            entry("mean over pairs", color=color),
            entry("its 95 % interval", color=color, linewidth=7, alpha=0.22),
            entry("smallest and largest", linestyle=":", linewidth=0.8),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw(axes: Axes, middle: Band, apart: Array, color: str) -> None:
    shade(axes, middle, color)
    line(axes, middle.mean, color=color, linewidth=1.2)
    for edge in (apart.min(axis=0), apart.max(axis=0)):
        line(axes, edge, color=INK, linewidth=0.8, linestyle=":")
    if not np.any(apart):
        axes.set_ylim(-1.0, 1.0)
        axes.set_yticks([0.0], ["0"])
    else:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3), useMathText=False)
