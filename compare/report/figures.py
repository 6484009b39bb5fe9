"""Figures: numbers in, Matplotlib figures out; computes nothing and keeps no global state.

Keras and Lightning usually coincide to the pixel. Keras is therefore a wide pale line and
Lightning a thin dark one on top of it, in the same dashes, so that both can be seen.
"""

from __future__ import annotations

from collections.abc import Iterable
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
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from compare.analysis.curves import Band
from compare.data import EXTENT, Array
from compare.spec import VARIANTS
from compare.wording import LABELS

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
