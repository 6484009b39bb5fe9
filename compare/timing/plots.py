"""Figures of `bn-compare time`: seconds per epoch above their floors, and how steps scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from compare.report.figures import INK, PENS, own_style
from compare.timing.samples import Measurements, Sample
from compare.timing.summary import Figure, crossing, envelope, steady_seconds
from compare.wording import LABELS

_AXES = {"batch_size": "batch size (width 50)", "units": "width (batches of 32)"}
_LOOKS: dict[str, tuple[Any, str]] = {"idiomatic": ("-", "o"), "floor": ((0, (4, 2)), "s")}
_SHIFT = {"keras": -0.17, "torch": 0.17}


def epoch_seconds(figures: Sequence[Figure], samples: Sequence[Sample]) -> Drawing:
    """Seconds per epoch by variant: the fit filled, its fastest floor hollow, every fit a dot."""
    variants = list(dict.fromkeys(figure.variant for figure in figures))
    with own_style():
        drawing = Drawing(figsize=(7.2, 1.8 + 0.6 * len(variants)), layout="constrained")
        axes = drawing.subplots()
        for row, variant in enumerate(variants):
            for framework in LABELS:
                mine = [f for f in figures if (f.variant, f.framework) == (variant, framework)]
                dots = [
                    steady_seconds(sample)
                    for sample in samples
                    if (sample.variant, sample.framework) == (variant, framework)
                    and sample.kind == "idiomatic"
                    and sample.repetition
                ]
                _row(axes, row + _SHIFT[framework], framework, mine, dots)
        axes.set_yticks(range(len(variants)), variants)
        axes.set_ylim(len(variants) - 0.5, -0.5)
        axes.set_xscale("log")
        _plain_numbers(axes, "x")
        axes.set(xlabel="seconds per epoch from the second on (log scale)")
        axes.set_title("model.fit and Trainer.fit, and the floor below each", loc="left")
        drawing.legend(handles=_bar_legend(), loc="outside lower center", ncols=4)
    return drawing


def _row(
    axes: Axes, height: float, framework: str, figures: Sequence[Figure], dots: Sequence[float]
) -> None:
    color = PENS[framework].color
    fits = [f.epoch_seconds for f in figures if f.kind == "idiomatic" and f.epoch_seconds]
    floors = [f.epoch_seconds for f in figures if f.kind == "floor" and f.epoch_seconds]
    if fits and floors:
        axes.plot([min(floors), fits[0]], [height] * 2, color=color, linewidth=2.5, alpha=0.5)
    if floors:
        axes.plot([min(floors)], [height], "s", color=color, markerfacecolor="none")
    for fit in fits:
        axes.plot([fit], [height], "o", color=color, markersize=8)
    axes.plot(dots, [height] * len(dots), ".", color=INK, markersize=2.5)


def _bar_legend() -> list[Line2D]:
    def entry(label: str, marker: str, **look: object) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, label=label, **look)  # type: ignore[arg-type]

    sides = [entry(LABELS[name], "o", color=pen.color) for name, pen in PENS.items()]
    floor = entry("floor", "s", color=INK, markerfacecolor="none")
    return [*sides, floor, entry("single fits", ".", color=INK, markersize=4)]


def scaling(measurements: Measurements) -> Drawing:
    """Milliseconds per step by batch size and by width; a tick where it is twice the smallest."""
    curves = envelope(measurements.points)
    with own_style():
        drawing = Drawing(figsize=(9.4, 4.6), layout="constrained")
        panels = drawing.subplots(1, 2, sharey=True)
        for axes, (axis, label) in zip(panels, _AXES.items(), strict=True):
            for (where, framework, kind), curve in curves.items():
                if where == axis:
                    _curve(axes, PENS[framework].color, kind, curve)
            axes.set(xscale="log", yscale="log", xlabel=label)
            _plain_numbers(axes, "x")
        _plain_numbers(panels[0], "y")
        panels[0].set(ylabel="milliseconds per step")
        panels[0].set_title("Dense → BN → Dense: overhead, then arithmetic", loc="left")
        drawing.legend(handles=_curve_legend(), loc="outside lower center", ncols=5)
    return drawing


def _curve(axes: Axes, color: str, kind: str, curve: dict[int, float]) -> None:
    style, marker = _LOOKS[kind]
    sizes = sorted(curve)
    times = [1e3 * curve[size] for size in sizes]
    axes.plot(sizes, times, linestyle=style, marker=marker, markersize=4, color=color)
    size = crossing(curve)
    if size is not None:
        axes.plot([size], [2 * min(times)], "|", color=INK, markersize=14, markeredgewidth=1.5)


def _curve_legend() -> list[Line2D]:
    handles = [
        Line2D(
            [],
            [],
            color=PENS[name].color,
            linestyle=style,
            marker=marker,
            markersize=4,
            label=f"{LABELS[name]} {'fit' if kind == 'idiomatic' else 'floor'}",
        )
        for name in PENS
        for kind, (style, marker) in _LOOKS.items()
    ]
    twice = Line2D(
        [], [], linestyle="", marker="|", color=INK, markersize=12, label="twice the least"
    )
    return [*handles, twice]


def _plain_numbers(axes: Axes, which: str) -> None:
    axis = getattr(axes, f"{which}axis")
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())
