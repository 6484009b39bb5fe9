"""The parity heat map of a study: how far histories drift apart, variant by epoch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from compare.data import Array
from compare.report.figures import own_style

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
