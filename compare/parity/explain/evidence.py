"""What an explanation of a divergence may look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compare.parity.ladder import Check
from compare.trace import Layer, Trace

Plans = Mapping[str, NDArray[np.int64]]
Histories = Mapping[str, Mapping[str, Sequence[float | None]]]
"""Framework → metric → one value per epoch, as in a record."""

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Evidence:
    """All that an explanation may look at."""

    check: Check
    keras: Trace
    torch: Trace
    plans: Plans | None
    histories: Histories | None

    def layer(self) -> Layer | None:
        """The layer to blame, as Keras describes it."""
        found = (layer for layer in self.keras.layers if layer["name"] == self.check.layer)
        return next(found, None)

    def both(self, key: str) -> tuple[Array, Array]:
        """An array of both sides, in float64."""
        return (
            np.asarray(self.keras[key], dtype=np.float64),
            np.asarray(self.torch[key], dtype=np.float64),
        )

    @property
    def single(self) -> bool:
        """Whether the trace was computed in float32."""
        return all(
            self.keras[key].dtype == np.float32 for key in self.keras if key.startswith("initial/")
        )

    def misfit(self, predicted: Array, found: Array) -> float:
        """Largest error of a prediction relative to its scale; infinite where shapes differ."""
        if predicted.shape != found.shape or not np.isfinite(predicted).all():
            return math.inf
        scale = max(1.0, float(np.abs(predicted).max(initial=0.0)))
        return float(np.abs(predicted - found).max(initial=0.0)) / scale

    def close(self, predicted: Array, found: Array) -> bool:
        """Whether a prediction holds, to the rounding of the trace's dtype.

        A hundred units in the last place: predictions undo divisions by small numbers.
        """
        unit = np.finfo(np.float32 if self.single else np.float64).eps
        return bool(self.misfit(predicted, found) <= (100 if self.single else 5e4) * unit)


@dataclass(frozen=True)
class StatisticsUpdate:
    """What the first step did to a batch norm's moving statistics.

    Attributes:
        decay: Share of the old statistics that was kept, fitted to the moving mean.
        before: Moving variance before the step.
        batch: Biased variance of the batch.
        n: Values per channel in the batch.
    """

    decay: float
    before: Array
    batch: Array
    n: int

    @property
    def unbiasing(self) -> float:
        """What makes the biased variance unbiased; 1 where one value alone has no variance."""
        return self.n / max(self.n - 1, 1)

    def variance(self, decay: float, *, unbiased: bool) -> Array:
        """The moving variance after the step, under a decay and a way of counting."""
        factor = self.unbiasing if unbiased else 1.0
        return decay * self.before + (1.0 - decay) * factor * self.batch


def statistics_update(trace: Trace, name: str) -> StatisticsUpdate:
    """Read the first step's update of a batch norm's moving statistics off a trace."""
    x = np.asarray(trace[f"training/{name}/input"], dtype=np.float64)
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    old = np.asarray(trace[f"initial/{name}/moving_mean"], dtype=np.float64) - mean
    new = np.asarray(trace[f"step/1/statistics/{name}/moving_mean"], dtype=np.float64) - mean
    return StatisticsUpdate(
        decay=float(new @ old / (old @ old)),
        before=np.asarray(trace[f"initial/{name}/moving_variance"], dtype=np.float64),
        batch=x.var(axes),
        n=x.size // x.shape[-1],
    )
