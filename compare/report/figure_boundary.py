"""What both sides predict over the plane, and where they differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from compare.console import LABELS, magnitude
from compare.data import EXTENT, GRID_SIDE, Array, Split
from compare.report.figures import PENS, own_style, scatter, square, title_of

_PROBABILITY = "probability of the inner circle"


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
        figure.suptitle(title_of(variant), fontsize="large")
        panels = figure.subplots(1, count, squeeze=False)[0]
        for axes, (framework, grid) in zip(panels, sides.items(), strict=False):
            square(axes, LABELS[framework])
            image = _image(axes, grid, "PRGn", (0.0, 1.0))
            _contour(axes, grid, "black", 1.2)
            scatter(axes, split.x_test, split.y_test, size=3.3)
        bar: dict[str, Any] = {"location": "bottom", "fraction": 0.06, "pad": 0.03}
        figure.colorbar(image, ax=list(panels[:2]), label=_PROBABILITY, aspect=40, **bar)
        if count == 3:
            image = _draw_difference(panels[2], sides["keras"], sides["torch"])
            low, high = image.get_clim()
            bar |= {"ticks": [low, 0.0, high], "format": lambda tick, _: magnitude(tick)}
            figure.colorbar(image, ax=panels[2], label="difference", aspect=16, shrink=0.8, **bar)
    return figure


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
    square(axes, f"{LABELS['torch']} − {LABELS['keras']}")
    difference = torch.astype(np.float64) - keras.astype(np.float64)
    finite = np.abs(difference[np.isfinite(difference)])
    limit = float(finite.max(initial=0.0)) or float(np.finfo(np.float64).eps)
    image = _image(axes, difference, "RdBu", (-limit, limit))
    _contour(axes, keras, PENS["keras"].color, 3.0)
    _contour(axes, torch, PENS["torch"].color, 1.0)
    return image
