"""When runs arrive at a target, and how long those that never do were watched.

A run that ends before it arrives is **censored**: all that is known is that it takes longer. A run
that diverged is counted and left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from compare.analysis.pairing import is_sound
from compare.study.metrics import first_crossing
from compare.study.records import Record

MOVING, BATCH = "test_accuracy", "batch_statistics_test_accuracy"
"""Curves that can arrive: evaluated with moving statistics, and with those of the batch."""


@dataclass(frozen=True)
class Arrivals:
    """When the runs of one group arrive.

    Attributes:
        epochs: Epoch of arrival of every run that arrives, counted from 1, sorted.
        missed: Epochs that every other run was watched for, without arriving.
        diverged: Number of runs that diverged; they are in neither list.
    """

    epochs: tuple[int, ...]
    missed: tuple[int, ...]
    diverged: int

    @property
    def runs(self) -> int:
        """Number of runs, diverged ones left out."""
        return len(self.epochs) + len(self.missed)

    def censored(self) -> Any:
        """The same as SciPy's `CensoredData`."""
        return scipy_stats.CensoredData(uncensored=self.epochs, right=self.missed)


def arrivals(records: Iterable[Record], target: float, curve: str = MOVING) -> Arrivals:
    """When each run's curve first reaches the target.

    Args:
        records: Runs whose history has the curve.
        target: A test accuracy.
        curve: Name of the curve.
    """
    runs = list(records)
    fine = [run["history"][curve] for run in runs if is_sound(run)]
    hits = [first_crossing(values, target) for values in fine]
    return Arrivals(
        epochs=tuple(sorted(hit for hit in hits if hit is not None)),
        missed=tuple(len(v) for v, hit in zip(fine, hits, strict=True) if hit is None),
        diverged=len(runs) - len(fine),
    )


def ecdf(found: Arrivals) -> tuple[tuple[int, float], ...]:
    """Kaplan–Meier's share of the runs that have arrived: a point wherever it rises."""
    if not found.epochs:
        return ()
    curve = scipy_stats.ecdf(found.censored()).cdf
    points = zip(curve.quantiles, curve.probabilities, strict=True)
    rises = set(found.epochs)
    return tuple((int(epoch), float(share)) for epoch, share in points if int(epoch) in rises)


def median(found: Arrivals) -> float | None:
    """Epochs after which half of the runs have arrived; None where half of them never do.

    Where exactly half have arrived between two arrivals, it is the middle of the two.
    """
    points = ecdf(found)
    for place, (epoch, share) in enumerate(points):
        if share > 0.5 + 1e-12:
            return float(epoch)
        if share > 0.5 - 1e-12:
            last = place + 1 == len(points)
            return None if last else (epoch + points[place + 1][0]) / 2
    return None


def expected_epochs(found: Arrivals) -> float | None:
    """Epochs spent per arrival, with those of the misses; None where none arrives.

    It is how long it takes until a run arrives if one is started again after every miss.
    """
    if not found.epochs:
        return None
    return (sum(found.epochs) + sum(found.missed)) / len(found.epochs)


def log_rank(first: Arrivals, second: Arrivals) -> float | None:
    """Two-sided p-value that two unpaired groups arrive alike; None where nothing can be told."""
    if not (first.runs and second.runs and (first.epochs or second.epochs)):
        return None
    # SciPy divides by zero where every run arrives in one and the same epoch.
    with np.errstate(invalid="ignore", divide="ignore"):
        found = float(scipy_stats.logrank(first.censored(), second.censored()).pvalue)
    return None if np.isnan(found) else found
