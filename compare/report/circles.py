"""The data as a figure: train and test points."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from compare.data import Array, Split
from compare.report.figures import own_style, square

_CLASSES = ((0.0, "outer circle", "o", "#9a5bb0"), (1.0, "inner circle", "^", "#35924f"))


def circles(split: Split) -> Figure:
    """The points: the training half and the test half side by side."""
    with own_style():
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        halves = figure.subplots(1, 2, sharex=True, sharey=True)
        parts = (("train", split.x_train, split.y_train), ("test", split.x_test, split.y_test))
        for axes, (name, points, labels) in zip(halves, parts, strict=True):
            square(axes, f"{name}: {len(points)} points")
            scatter(axes, points, labels, size=3.6)
        entries = halves[0].get_legend_handles_labels()
        figure.legend(*entries, loc="outside lower center", ncols=2, markerscale=2)
    return figure


def scatter(axes: Axes, points: Array, labels: Array, *, size: float) -> None:
    """Draw points by class.

    Args:
        axes: Where to.
        points: Coordinates, (n, 2).
        labels: 0.0 or 1.0, (n,).
        size: Of a marker in points.
    """
    edge: Any = {"markeredgecolor": "white", "markeredgewidth": 0.4}
    for label, name, marker, color in _CLASSES:
        x, y = points[labels == label].T
        # One line of markers is a fifth of a scatter's bytes in SVG.
        axes.plot(x, y, marker, color=color, markersize=size, label=name, **edge)
