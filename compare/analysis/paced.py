"""Seconds per epoch by variant and framework: median and the range of most epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class EpochSeconds:
    """How long epochs took.

    Attributes:
        variant: Name of the variant.
        framework: `"keras"` or `"torch"`.
        fits: Number of fits under the clock.
        epochs: Number of epochs under the clock, over all fits.
        median: Median over the epochs, in seconds.
        low: Fifth percentile, in seconds.
        high: Ninety-fifth percentile, in seconds.
    """

    variant: str
    framework: str
    fits: int
    epochs: int
    median: float
    low: float
    high: float


def epoch_seconds(timed: Iterable[Mapping[str, Any]]) -> list[EpochSeconds]:
    """One per variant and framework, in order of first appearance.

    Args:
        timed: Timings, or records of runs that were under the clock; those without seconds are
            left out.
    """
    groups: dict[tuple[str, str], list[list[float]]] = {}
    for fit in timed:
        if fit.get("epoch_seconds"):
            key = (fit["variant"], fit["framework"])
            groups.setdefault(key, []).append(fit["epoch_seconds"])
    found = []
    for (variant, framework), fits in groups.items():
        every = np.concatenate([np.asarray(fit, dtype=np.float64) for fit in fits])
        low, median, high = (float(q) for q in np.quantile(every, (0.05, 0.5, 0.95)))
        found.append(EpochSeconds(variant, framework, len(fits), len(every), median, low, high))
    return found
