"""Curves by epoch over many seeds: means, and how well they are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats

from compare.analysis.pairing import Pair
from compare.data import Array
from compare.study.records import Record

LEVEL = 0.95
"""Nominal coverage of every interval here."""


@dataclass(frozen=True)
class Band:
    """The mean of some curves, with a pointwise 95 % interval of it (Student's t).

    Attributes:
        mean: (epochs,).
        low: Lower ends, (epochs,); NaN for fewer than three curves.
        high: Upper ends.
        n: Number of curves.
    """

    mean: Array
    low: Array
    high: Array
    n: int


def matrix(records: Iterable[Record], key: str) -> Array:
    """One history of every run that did not diverge and has it, (runs, epochs)."""
    found = [
        run["history"][key]
        for run in records
        if run["status"] == "ok" and run.get("history", {}).get(key)
    ]
    epochs = min(map(len, found), default=0)
    return np.array([curve[:epochs] for curve in found], dtype=np.float64).reshape(
        len(found), epochs
    )


def gaps(pairs: Iterable[Pair], key: str) -> Array:
    """Lightning − Keras of one history, of every pair that did not diverge, (pairs, epochs)."""
    fine = [p for p in pairs if p.keras["status"] == p.torch["status"] == "ok"]
    keras, torch = (
        matrix(runs, key) for runs in ([p.keras for p in fine], [p.torch for p in fine])
    )
    epochs = min(keras.shape[1], torch.shape[1]) if keras.shape[0] == torch.shape[0] else 0
    return torch[:, :epochs] - keras[:, :epochs] if epochs else np.empty((0, 0))


def band(curves: Array) -> Band | None:
    """Mean and interval of curves, (n, epochs); None without a curve."""
    n = len(curves)
    if not curves.size:
        return None
    mean = curves.mean(axis=0)
    half = np.full_like(mean, np.nan)
    if n > 2:
        half = scipy_stats.t.ppf((1 + LEVEL) / 2, n - 1) * curves.std(axis=0, ddof=1) / np.sqrt(n)
    return Band(mean, mean - half, mean + half, n)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean (Student's t); None below three values or where all are equal."""
    found = band(np.array(values, dtype=np.float64).reshape(-1, 1))
    if found is None or found.n < 3 or not np.ptp(values):
        return None
    return float(found.low[0]), float(found.high[0])
