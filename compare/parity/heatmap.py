"""The heat map of a parity check: how far each layer drifts apart, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from compare.parity.twins import PairReport

FLOOR = 1e-18
"""Zero has no logarithm; it is drawn like this, the lightest colour."""


def heat_map(reports: Sequence[PairReport]) -> Figure:
    """Layer × epoch, largest absolute difference of weights and statistics, on a log scale.

    Args:
        reports: Reports with `heat`; seeds of a variant are joined by their maximum.

    Returns:
        The figure.
    """
    rows: dict[str, np.ndarray] = {}
    for report in reports:
        for layer, curve in (report.heat or {}).items():
            name, values = f"{report.variant}: {layer}", np.asarray(curve)
            rows[name] = np.maximum(rows[name], values) if name in rows else values
    # What is not finite is left white: that pair diverged.
    image = np.ma.masked_invalid(np.maximum(np.stack(list(rows.values())), FLOOR))
    figure = Figure(figsize=(9, 1.4 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    top = max(float(image.filled(FLOOR).max()), 1e-15)
    drawn = axes.imshow(
        image,
        aspect="auto",
        interpolation="nearest",
        norm=LogNorm(FLOOR, top),
        cmap="viridis_r",
        extent=(0.5, image.shape[1] + 0.5, len(rows) - 0.5, -0.5),
    )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_xlabel("epoch")
    axes.set_title("largest |Keras − Lightning| of weights and moving statistics")
    figure.colorbar(drawn, ax=axes, label="largest absolute difference")
    return figure
