"""Figures: numbers in, Matplotlib figures out; computes nothing and keeps no global state.

Keras and Lightning usually coincide to the pixel. Keras is therefore a wide pale line and
Lightning a thin dark one on top of it, in the same dashes, so that both can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from compare.data import EXTENT, GRID_SIDE, Array, Split
from compare.records import Record
from compare.spec import VARIANTS
from compare.table import LABELS, magnitude

INK, PAPER = "#24292f", "#fdfdfd"
"""Colours of text and background; a page may replace these, and `PENS`', by its own."""


@dataclass(frozen=True)
class Pen:
    """How the lines of one framework are drawn; width in points."""

    color: str
    width: float


PENS = MappingProxyType({"keras": Pen("#f2b04c", 4.5), "torch": Pen("#0b4f8a", 1.2)})

_DASHES: dict[str, tuple[float, ...]] = {
    "test": (),
    "train": (7, 3),
    "train, while training": (1.5, 2.5),
    "test, batch statistics": (8, 2.5, 1.5, 2.5),
}
"""Kind of curve → lengths of dashes and gaps in points; empty is solid."""

_ACCURACIES = (
    "test_accuracy",
    "train_accuracy",
    "running_train_accuracy",
    "batch_statistics_test_accuracy",
)
_LOSSES = ("test_loss", "train_loss", "running_train_loss")
"""Histories of a panel, in the order of `_DASHES`."""

_CIRCLES = ((0.0, "outer circle", "o", "#9a5bb0"), (1.0, "inner circle", "^", "#35924f"))
_PROBABILITY = "probability of the inner circle"
_MANY_SEEDS, _DPI = 8, 130
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


def circles(split: Split) -> Figure:
    """The points: the training half and the test half side by side."""
    with own_style():
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        halves = figure.subplots(1, 2, sharex=True, sharey=True)
        parts = (("train", split.x_train, split.y_train), ("test", split.x_test, split.y_test))
        for axes, (name, points, labels) in zip(halves, parts, strict=True):
            _square(axes, f"{name}: {len(points)} points")
            _scatter(axes, points, labels, size=14)
        entries = halves[0].get_legend_handles_labels()
        figure.legend(*entries, loc="outside lower center", ncols=2, markerscale=2)
    return figure


def learning_curves(variant: str, records: Sequence[Record], target: float) -> Figure:
    """Accuracy and loss by epoch, both frameworks over each other.

    With several seeds the curves are means over the runs that did not diverge, and the test
    curve of every single run is a thin line; that of a run that diverged ends in a cross.

    Args:
        variant: Name of the variant.
        records: Runs of the study; those of other variants are left out.
        target: The test accuracy that counts as converged, drawn as a horizontal line.

    Returns:
        The figure, accuracy above loss.
    """
    runs = [record for record in records if record["variant"] == variant]
    with own_style():
        figure = Figure(figsize=(6.4, 6.6), layout="constrained")
        panels = figure.subplots(2, 1, sharex=True)
        for axes, keys in zip(panels, (_ACCURACIES, _LOSSES), strict=True):
            for framework in LABELS:
                mine = [run for run in runs if run["framework"] == framework]
                _draw_side(axes, PENS[framework], mine, keys)
        panels[0].axhline(target, color=INK, linewidth=0.8, alpha=0.7, zorder=1)
        panels[0].set_title(_title(variant), loc="left")
        panels[0].set(ylabel="accuracy")
        panels[1].set(xlabel="epoch", ylabel="loss")
        panels[1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        _limit_loss(panels[1], runs)
        look: dict[str, Any] = {"loc": "outside lower center", "ncols": 3, "handlelength": 3.2}
        figure.legend(handles=_legend(runs, target), **look)
    return figure


def decision_boundaries(
    variant: str, split: Split, keras_grid: Array | None, torch_grid: Array | None
) -> Figure:
    """What each side predicts over the plane, and the difference where there are both.

    Args:
        variant: Name of the variant.
        split: The data, whose test points are drawn over the predictions.
        keras_grid: Probability of the inner circle at `compare.data.grid_points()`,
            (GRID_SIDE²,); None where Keras was not trained.
        torch_grid: The same for Lightning.

    Returns:
        Panels Keras, Lightning, Lightning − Keras: those that exist.

    Raises:
        ValueError: Both grids are None, or one has another size.
    """
    both = {"keras": keras_grid, "torch": torch_grid}
    sides = {k: v.reshape(GRID_SIDE, GRID_SIDE) for k, v in both.items() if v is not None}
    if not sides:
        raise ValueError(f"{variant}: no predictions to draw: expected one grid at least.")
    with own_style(**{"axes.grid": False}):
        count = 3 if len(sides) == 2 else 1
        figure = Figure(figsize=(3.2 * count + 0.2, 4.4), layout="constrained")
        figure.suptitle(_title(variant), fontsize="large")
        panels = figure.subplots(1, count, squeeze=False)[0]
        for axes, (framework, grid) in zip(panels, sides.items(), strict=False):
            _square(axes, LABELS[framework])
            image = _image(axes, grid, "PRGn", (0.0, 1.0))
            _contour(axes, grid, "black", 1.2)
            _scatter(axes, split.x_test, split.y_test, size=12)
        bar: dict[str, Any] = {"location": "bottom", "fraction": 0.06, "pad": 0.03}
        figure.colorbar(image, ax=list(panels[:2]), label=_PROBABILITY, aspect=40, **bar)
        if count == 3:
            image = _draw_difference(panels[2], sides["keras"], sides["torch"])
            low, high = image.get_clim()
            bar |= {"ticks": [low, 0.0, high], "format": lambda tick, _: magnitude(tick)}
            figure.colorbar(image, ax=panels[2], label="difference", aspect=20, **bar)
    return figure


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write `name.png` and `name.svg`: the same figure gives the same bytes.

    Args:
        figure: What to write.
        folder: An existing folder.
        name: File name without its ending; it also seeds the ids inside the SVG.
    """
    stamps = {"png": ("Software",), "svg": ("Date", "Creator", "Format", "Type")}
    with own_style(**{"svg.hashsalt": name}):
        # The layout takes two passes to settle; then both files shall have the same one.
        for _ in range(2):
            figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for ending, left_out in stamps.items():
            content = BytesIO()
            figure.savefig(content, format=ending, dpi=_DPI, metadata=dict.fromkeys(left_out))
            temporary = folder / f"{name}.{ending}.tmp"
            temporary.write_bytes(content.getvalue())
            temporary.replace(folder / f"{name}.{ending}")


def _title(variant: str) -> str:
    return f"{variant}: {VARIANTS[variant].title}" if variant in VARIANTS else variant


def _square(axes: Axes, title: str) -> None:
    axes.set(title=title, aspect="equal", xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT))
    axes.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))


def _scatter(axes: Axes, points: Array, labels: Array, *, size: float) -> None:
    edge: Any = {"edgecolors": "white", "linewidths": 0.4}
    for label, name, marker, color in _CIRCLES:
        x, y = points[labels == label].T
        axes.scatter(x, y, size, color, marker=marker, label=name, **edge)


def _curve(run: Record, key: str) -> Array | None:
    """One history as floats, null as NaN, (epochs,); None where it was not recorded."""
    values = run.get("history", {}).get(key)
    return np.array(values, dtype=np.float64) if values else None


def _draw_side(axes: Axes, pen: Pen, runs: Sequence[Record], keys: Sequence[str]) -> None:
    fine = [run for run in runs if run["status"] == "ok"]
    for key, dashes in zip(keys, _DASHES.values(), strict=False):
        curves = [curve for run in fine if (curve := _curve(run, key)) is not None]
        if curves:
            middle = np.mean(list(zip(*curves, strict=False)), axis=1)
            look = {"linewidth": pen.width, "linestyle": _pattern(dashes, pen.width)}
            _line(axes, middle, color=pen.color, **look)
    for run in runs:
        curve = _curve(run, keys[0])
        if curve is None or (len(runs) == 1 and run["status"] == "ok"):
            continue
        thin = {"color": pen.color, "linewidth": 0.4 * pen.width, "alpha": 0.45}
        _line(axes, curve, **thin, rasterized=len(runs) > _MANY_SEEDS)
        finite = np.flatnonzero(np.isfinite(curve))
        if run["status"] != "ok" and len(finite):
            end = finite[-1]
            axes.plot(end + 1, curve[end], "x", color=pen.color, markersize=7, markeredgewidth=1.5)


def _pattern(dashes: tuple[float, ...], width: float) -> str | tuple[float, tuple[float, ...]]:
    # Matplotlib multiplies dashes by the width, and both frameworks need the same ones.
    return (0.0, tuple(length / width for length in dashes)) if dashes else "-"


def _line(axes: Axes, values: Array, **options: Any) -> None:
    # A line through one point has no length, so a study of one epoch is dots.
    marker = "o" if len(values) == 1 else ""
    axes.plot(np.arange(1, len(values) + 1), values, marker=marker, **options)


def _limit_loss(axes: Axes, runs: Sequence[Record]) -> None:
    """Keep a run that diverged from flattening the others."""
    fine = [run for run in runs if run["status"] == "ok"]
    if 0 < len(fine) < len(runs):
        curves = [run.get("history", {}).get(key) or () for run in fine for key in _LOSSES]
        top = max((loss for curve in curves for loss in curve if loss is not None), default=0.0)
        axes.set_ylim(0.0, 1.1 * top or None)


def _legend(runs: Sequence[Record], target: float) -> list[Line2D]:
    def entry(label: str, **look: Any) -> Line2D:
        return Line2D([], [], label=label, **{"color": INK, "linewidth": 1.2, **look})

    trained = {run["framework"] for run in runs}
    handles = [
        entry(LABELS[name], color=pen.color, linewidth=pen.width)
        for name, pen in PENS.items()
        if name in trained
    ]
    handles.append(entry(f"target: {100 * target:g} %", linewidth=0.8, alpha=0.7))
    for key, (kind, dashes) in zip(_ACCURACIES, _DASHES.items(), strict=True):
        if any(_curve(run, key) is not None for run in runs):
            handles.append(entry(kind, linestyle=_pattern(dashes, 1.2)))
    if any(run["status"] != "ok" for run in runs):
        handles.append(entry("diverged", linestyle="", marker="x"))
    return handles


def _image(axes: Axes, grid: Array, colors: str, limits: tuple[float, float]) -> AxesImage:
    # The grid's points are the centres of the pixels, so the outermost ones reach beyond EXTENT.
    edge, (low, high) = EXTENT * GRID_SIDE / (GRID_SIDE - 1), limits
    # Paler than the colour map, or points of the same colour would drown in it.
    pale = 0.3 + 0.7 * colormaps[colors](np.linspace(0, 1, 256))
    colormap = ListedColormap(pale.clip(max=1.0), bad="#888888")
    place: dict[str, Any] = {"origin": "lower", "extent": (-edge, edge, -edge, edge)}
    return axes.imshow(grid, colormap, vmin=low, vmax=high, interpolation="none", **place)


def _contour(axes: Axes, grid: Array, color: str, width: float) -> None:
    if np.any(grid < 0.5) and np.any(grid > 0.5):
        axis = np.linspace(-EXTENT, EXTENT, GRID_SIDE)
        axes.contour(axis, axis, grid, levels=[0.5], colors=[color], linewidths=[width])


def _draw_difference(axes: Axes, keras: Array, torch: Array) -> AxesImage:
    _square(axes, f"{LABELS['torch']} − {LABELS['keras']}")
    difference = torch.astype(np.float64) - keras.astype(np.float64)
    finite = np.abs(difference[np.isfinite(difference)])
    limit = float(finite.max(initial=0.0)) or float(np.finfo(np.float64).eps)
    image = _image(axes, difference, "RdBu", (-limit, limit))
    _contour(axes, keras, PENS["keras"].color, 3.0)
    _contour(axes, torch, PENS["torch"].color, 1.0)
    return image
