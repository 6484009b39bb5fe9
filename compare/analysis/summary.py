"""What is said of a group of runs: its row in the table, its curves, its seconds per epoch.

Also the accuracies that the tutorial prints, beside those of the runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median, stdev
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from compare.analysis.frames import Pair, by_side, is_sound, run_frame
from compare.data import Array
from compare.spec import Settings
from compare.study.records import Record, Timing

LEVEL = 0.95
"""Nominal coverage of every interval here."""


@dataclass(frozen=True)
class Row:
    """The runs of one variant in one framework, summarized over seeds.

    Means and medians leave out runs that diverged; with none left they are None.

    Attributes:
        variant: Name of the variant.
        framework: `"keras"` or `"torch"`.
        alignment: Alignment of the study.
        seeds: Number of runs, diverged ones included.
        diverged: Number of runs with a loss or a weight that is not finite.
        train_accuracy_mean: Mean final training accuracy, evaluated after the last epoch.
        test_accuracy_mean: Mean final test accuracy.
        test_accuracy_std: Sample standard deviation of it; None below two runs.
        test_accuracy_interval: 95 % interval of the mean (Student's t); None below three runs.
        test_accuracies: The final test accuracies themselves, by seed.
        epochs_to_target_median: Median over seeds, a run that never arrives counting as infinite;
            None where the median itself never arrives.
        reached_target: Number of runs that reached the target.
        epoch_seconds_median: Median over the epochs of all timed fits, where a study at the fast
            pace timed some, else of all runs; None where nothing was timed.
    """

    variant: str
    framework: str
    alignment: str
    seeds: int
    diverged: int
    train_accuracy_mean: float | None
    test_accuracy_mean: float | None
    test_accuracy_std: float | None
    test_accuracies: tuple[float, ...]
    epochs_to_target_median: float | None
    reached_target: int
    epoch_seconds_median: float | None
    test_accuracy_interval: tuple[float, float] | None = None


def rows(records: Iterable[Record], timings: Iterable[Timing] = ()) -> list[Row]:
    """One row per variant and framework, in the order of first appearance."""
    timed = by_side(run_frame(timings))
    groups = by_side(run_frame(records))
    return [_row(runs, timed.get(side, runs)) for side, runs in groups.items()]


def _row(runs: pd.DataFrame, timed: pd.DataFrame) -> Row:
    first = runs.iloc[0]
    fine = runs[runs["status"] == "ok"]
    accuracies = fine["test_accuracy"].tolist()
    hits = fine["epochs_to_target"].tolist()
    middle = median(math.inf if hit is None else hit for hit in hits) if hits else math.inf
    seconds = timed["epoch_seconds"].explode().dropna().tolist()
    return Row(
        variant=first["variant"],
        framework=first["framework"],
        alignment=first["alignment"],
        seeds=len(runs),
        diverged=len(runs) - len(fine),
        train_accuracy_mean=mean(fine["train_accuracy"]) if accuracies else None,
        test_accuracy_mean=mean(accuracies) if accuracies else None,
        test_accuracy_std=stdev(accuracies) if len(accuracies) > 1 else None,
        test_accuracies=tuple(accuracies),
        epochs_to_target_median=middle if math.isfinite(middle) else None,
        reached_target=sum(hit is not None for hit in hits),
        epoch_seconds_median=median(seconds) if seconds else None,
        test_accuracy_interval=mean_interval(accuracies),
    )


def row_json(row: Row) -> dict[str, Any]:
    """The fields of a row that `bn-compare run --json` prints."""
    names = ("variant", "framework", "alignment", "seeds", "test_accuracy_mean")
    medians = ("epochs_to_target_median", "epoch_seconds_median")
    return {name: getattr(row, name) for name in (*names, *medians)}


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
    groups = by_side(run_frame(fit for fit in timed if fit.get("epoch_seconds")))
    summaries = []
    for side, fits in groups.items():
        seconds = fits["epoch_seconds"].explode().to_numpy(np.float64)
        low, middle, high = np.quantile(seconds, (0.05, 0.5, 0.95)).tolist()
        summaries.append(EpochSeconds(*side, len(fits), len(seconds), middle, low, high))
    return summaries


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
    fine = [run.get("history", {}).get(key) for run in records if run["status"] == "ok"]
    curves = [curve for curve in fine if curve]
    epochs = min(map(len, curves), default=0)
    return np.array([c[:epochs] for c in curves], dtype=np.float64).reshape(len(curves), epochs)


def gaps(pairs: Iterable[Pair], key: str) -> Array:
    """Lightning − Keras of one history, of every pair that did not diverge, (pairs, epochs)."""
    fine = [p for p in pairs if p.keras["status"] == p.torch["status"] == "ok"]
    keras, torch = matrix((p.keras for p in fine), key), matrix((p.torch for p in fine), key)
    epochs = min(keras.shape[1], torch.shape[1]) if len(keras) == len(torch) else 0
    return torch[:, :epochs] - keras[:, :epochs] if epochs else np.empty((0, 0))


def band(curves: Array) -> Band | None:
    """Mean and interval of curves, (n, epochs); None without a curve."""
    n = len(curves)
    if not curves.size:
        return None
    middle = curves.mean(axis=0)
    half = np.full_like(middle, np.nan)
    if n > 2:
        half = scipy_stats.t.ppf((1 + LEVEL) / 2, n - 1) * curves.std(axis=0, ddof=1) / np.sqrt(n)
    return Band(middle, middle - half, middle + half, n)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean (Student's t); None below three values or where all are equal."""
    ends = band(np.array(values, dtype=np.float64).reshape(-1, 1))
    if ends is None or ends.n < 3 or not np.ptp(values):
        return None
    return float(ends.low[0]), float(ends.high[0])


REPORTED: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "mlp": (0.838, 0.846),
        "mlp-bn-after": (0.846, 0.848),
        "mlp-bn-before": (0.826, 0.830),
    }
)
"""Variant → training and test accuracy after the last epoch, one run each (Brownlee, *How to
Accelerate Learning of Deep Neural Networks With Batch Normalization*, 2019)."""

_DECIDES = (
    *("n_samples", "noise", "data_seed", "epochs", "batch_size"),
    *("learning_rate", "sgd_momentum"),
)


@dataclass(frozen=True)
class Line:
    """One accuracy of the tutorial, and the same one over our seeds.

    Attributes:
        variant: Name of the variant.
        framework: `"keras"` or `"torch"`.
        half: `"train"` or `"test"`.
        reported: What the tutorial prints, to three digits.
        seeds: Number of our runs.
        low: The smallest of them.
        high: The largest.
    """

    variant: str
    framework: str
    half: str
    reported: float
    seeds: int
    low: float
    high: float

    @property
    def within(self) -> bool:
        """Whether the reported one lies in our range, to the digits that it has."""
        return round(self.low, 3) <= self.reported <= round(self.high, 3)

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {**asdict(self), "within": self.within}


def lines(records: Sequence[Record], settings: Settings) -> list[Line]:
    """The tutorial's accuracies beside ours; none for a study that trains in another way.

    Args:
        records: Runs, of which those that diverged are left out.
        settings: Settings of the study.
    """
    tutorial = Settings()
    if any(getattr(settings, name) != getattr(tutorial, name) for name in _DECIDES):
        return []
    fine = run_frame(run for run in records if run["variant"] in REPORTED and is_sound(run))
    return [
        Line(*side, half, reported, len(runs), min(accuracies), max(accuracies))
        for side, runs in by_side(fine).items()
        for half, reported in zip(("train", "test"), REPORTED[side[0]], strict=True)
        for accuracies in [runs[f"{half}_accuracy"].tolist()]
    ]
