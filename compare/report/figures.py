"""Figures: numbers in, Matplotlib figures out; computes nothing and keeps no global state.

Keras and Lightning usually coincide to the pixel. Keras is therefore a wide pale line and
Lightning a thin dark one on top of it, in the same dashes, so that both can be seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from compare.analysis.frames import Pair
from compare.analysis.summary import Band, EpochSeconds, band, gaps, matrix
from compare.analysis.time_to_target import BATCH, MOVING, Convergence
from compare.console import LABELS
from compare.data import EXTENT, Array, Split
from compare.spec import VARIANTS
from compare.study.records import Record

INK, PAPER = "#24292f", "#fdfdfd"
"""Colours of text and background; a page may replace these, and `PENS`', by its own."""


@dataclass(frozen=True)
class Pen:
    """How the lines of one framework are drawn; width in points."""

    color: str
    width: float


PENS = MappingProxyType({"keras": Pen("#f2b04c", 4.5), "torch": Pen("#0b4f8a", 1.2)})

_DPI = 130
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    "grid.alpha": 0.18,
    # Text stays text: small files, and a screen reader or a search finds it.
    "svg.fonttype": "none",
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), PAPER),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "grid.color"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
}


def own_style(**extra: Any) -> AbstractContextManager[None]:
    """This module's style, whatever the user's own matplotlibrc says."""
    return style.context(["default", {**_STYLE, **extra}])


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write `name.png` and `name.svg`: the same figure gives the same bytes.

    Args:
        figure: What to write.
        folder: An existing folder.
        name: File name without its ending; it also seeds the ids inside the SVG.
    """
    with own_style(**{"svg.hashsalt": name}):
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(_DPI)
        # Both files shall have the same layout. A second pass would move a panel by less than half
        # a pixel, and takes as long as drawing the figure.
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
        figure.set_layout_engine("none")
        # Not savefig, which draws everything once more to find out how large it is.
        png, svg = BytesIO(), BytesIO()
        canvas.print_png(png, metadata={"Software": None})  # type: ignore[no-untyped-call]
        left_out = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(svg, metadata=left_out)  # type: ignore[no-untyped-call]
        for ending, content in (("png", png), ("svg", svg)):
            temporary = folder / f"{name}.{ending}.tmp"
            temporary.write_bytes(content.getvalue())
            temporary.replace(folder / f"{name}.{ending}")


def title_of(variant: str) -> str:
    """A variant's name and what it is, where it is known."""
    return f"{variant}: {VARIANTS[variant].title}" if variant in VARIANTS else variant


def square(axes: Axes, title: str) -> None:
    """Make axes the plane of the circles."""
    axes.set(title=title, aspect="equal", xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT))
    axes.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))


def dashed(lengths: tuple[float, ...], width: float) -> str | tuple[float, tuple[float, ...]]:
    """A line style of dashes and gaps in points, the same at every line width; empty is solid."""
    # Matplotlib multiplies dashes by the width, and both frameworks need the same ones.
    return (0.0, tuple(length / width for length in lengths)) if lengths else "-"


def line(axes: Axes, values: Array, **options: Any) -> None:
    """Draw values by epoch, (epochs,), the first at 1."""
    # A line through one point has no length, so a study of one epoch is dots.
    marker = "o" if len(values) == 1 else ""
    axes.plot(np.arange(1, len(values) + 1), values, marker=marker, **options)


def shade(axes: Axes, band: Band, color: str) -> None:
    """Fill the interval of a band, where it has one."""
    if np.isfinite(band.low).any():
        epochs = np.arange(1, len(band.mean) + 1)
        axes.fill_between(epochs, band.low, band.high, color=color, alpha=0.22, linewidth=0)


def entry(label: str, **look: Any) -> Line2D:
    """A line of a legend."""
    return Line2D([], [], label=label, **{"color": INK, "linewidth": 1.2, **look})


def sides(frameworks: Iterable[str]) -> list[Line2D]:
    """The legend's lines of the frameworks that are drawn."""
    drawn = set(frameworks)
    return [
        entry(LABELS[name], color=pen.color, linewidth=pen.width)
        for name, pen in PENS.items()
        if name in drawn
    ]


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
                _step_curve(axes, curve, epochs)
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


def _step_curve(axes: Axes, curve: Convergence, last: int) -> None:
    pen = PENS[curve.framework]
    end = curve.ecdf[-1][1] if curve.ecdf else 0.0
    epochs = [0, *(epoch for epoch, _ in curve.ecdf), last]
    shares = [0.0, *(share for _, share in curve.ecdf), end]
    style = dashed(_DASHES[curve.curve], pen.width)
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


FLOOR = 1e-18
"""Zero has no logarithm; it is drawn like this, the lightest colour."""


def drift(worst: Mapping[str, Array]) -> Figure:
    """Largest absolute difference of the test loss over pairs, on a log scale.

    Args:
        worst: Variant → largest difference by epoch, (epochs,), at least one epoch.
    """
    epochs = max(map(len, worst.values()))
    image = np.full((len(worst), epochs), np.nan)
    for row, values in enumerate(worst.values()):
        image[row, : len(values)] = np.maximum(values, FLOOR)
    top = max(float(np.nanmax(image)), 1e-15)
    with own_style(**{"axes.grid": False}):
        figure = Figure(figsize=(5.0, 1.7 + 0.24 * len(worst)), layout="constrained")
        axes = figure.subplots()
        drawn = axes.imshow(
            image,
            aspect="auto",
            interpolation="none",
            norm=LogNorm(max(FLOOR, float(np.nanmin(image))), top),
            cmap="viridis_r",
            extent=(0.5, epochs + 0.5, len(worst) - 0.5, -0.5),
        )
        axes.set_yticks(range(len(worst)), list(worst))
        axes.set(xlabel="epoch")
        label = "largest |Lightning − Keras|, test loss"
        figure.colorbar(drawn, ax=axes, label=label, location="bottom", aspect=40, fraction=0.06)
    return figure


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
                _draw_spread(axes, middle, apart, color)
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


def _draw_spread(axes: Axes, middle: Band, apart: Array, color: str) -> None:
    shade(axes, middle, color)
    line(axes, middle.mean, color=color, linewidth=1.2)
    for edge in (apart.min(axis=0), apart.max(axis=0)):
        line(axes, edge, color=INK, linewidth=0.8, linestyle=":")
    if not np.any(apart):
        axes.set_ylim(-1.0, 1.0)
        axes.set_yticks([0.0], ["0"])
    else:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3), useMathText=False)
