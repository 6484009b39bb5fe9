"""Time to target: when runs reach a test accuracy, how fast a group of them does, and who is first.

A run that ends before it arrives is **censored**: all that is known is that it takes longer. A run
that diverged is counted and left out. SciPy has the Kaplan–Meier curve, the log-rank test and the
sign test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from compare.analysis import intervals
from compare.analysis.frames import Side, is_sound, match, runs_by_side
from compare.study.records import Record
from compare.study.runs import first_crossing

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


def ecdf(group: Arrivals) -> tuple[tuple[int, float], ...]:
    """Kaplan–Meier's share of the runs that have arrived: a point wherever it rises."""
    if not group.epochs:
        return ()
    curve = scipy_stats.ecdf(group.censored()).cdf
    points = zip(curve.quantiles, curve.probabilities, strict=True)
    rises = set(group.epochs)
    return tuple((int(epoch), float(share)) for epoch, share in points if int(epoch) in rises)


def median(group: Arrivals) -> float | None:
    """Epochs after which half of the runs have arrived; None where half of them never do.

    Where exactly half have arrived between two arrivals, it is the middle of the two.
    """
    points = ecdf(group)
    for place, (epoch, share) in enumerate(points):
        if share > 0.5 + 1e-12:
            return float(epoch)
        if share > 0.5 - 1e-12:
            last = place + 1 == len(points)
            return None if last else (epoch + points[place + 1][0]) / 2
    return None


def expected_epochs(group: Arrivals) -> float | None:
    """Epochs spent per arrival, with those of the misses; None where none arrives.

    It is how long it takes until a run arrives if one is started again after every miss.
    """
    if not group.epochs:
        return None
    return (sum(group.epochs) + sum(group.missed)) / len(group.epochs)


def log_rank(first: Arrivals, second: Arrivals) -> float | None:
    """Two-sided p-value that two unpaired groups arrive alike; None where it is undefined."""
    if not (first.runs and second.runs and (first.epochs or second.epochs)):
        return None
    # SciPy divides by zero where every run arrives in one and the same epoch.
    with np.errstate(invalid="ignore", divide="ignore"):
        p_value = float(scipy_stats.logrank(first.censored(), second.censored()).pvalue)
    return None if np.isnan(p_value) else p_value


@dataclass(frozen=True)
class Convergence:
    """How fast one group of runs arrives.

    Attributes:
        variant: Name of the variant.
        framework: `"keras"` or `"torch"`.
        curve: Which curve has to arrive, from a record's `history`.
        target: Where to: a test accuracy.
        runs: Number of runs, diverged ones left out.
        diverged: Number of those.
        arrived: Number of runs that arrive.
        hit_rate: Share of the runs that arrive; None without runs.
        hit_rate_low: Lower end of its 95 % interval after Clopper and Pearson.
        hit_rate_high: Upper end.
        median: Kaplan–Meier's median number of epochs; None where half of them never arrive.
        expected_epochs: Expected running time: all epochs spent, those of misses included, per
            arrival; None where none arrives.
        median_seconds: The median in seconds; None where an epoch was not timed.
        expected_seconds: The expected running time in seconds.
        ecdf: Points (epoch, share of the runs that have arrived), by Kaplan and Meier.
    """

    variant: str
    framework: str
    curve: str
    target: float
    runs: int
    diverged: int
    arrived: int
    hit_rate: float | None
    hit_rate_low: float | None
    hit_rate_high: float | None
    median: float | None
    expected_epochs: float | None
    median_seconds: float | None
    expected_seconds: float | None
    ecdf: tuple[tuple[int, float], ...]

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {**asdict(self), "ecdf": [list(point) for point in self.ecdf]}


def convergence(
    records: Iterable[Record],
    target: float,
    epoch_seconds: Mapping[Side, float | None] = MappingProxyType({}),
    *,
    curve: str = MOVING,
) -> list[Convergence]:
    """One entry per variant and framework whose runs have the curve, in order of appearance.

    Args:
        records: The runs of a study.
        target: A test accuracy.
        epoch_seconds: (variant, framework) → seconds per epoch, where they are known.
        curve: Name of the curve that has to arrive.
    """
    with_curve = [record for record in records if curve in record["history"]]
    return [
        _convergence(side, curve, target, arrivals(runs, target, curve), epoch_seconds.get(side))
        for side, runs in runs_by_side(with_curve).items()
    ]


def _convergence(
    side: Side, curve: str, target: float, group: Arrivals, seconds: float | None
) -> Convergence:
    runs, arrived = group.runs, len(group.epochs)
    middle, expected = median(group), expected_epochs(group)
    share = intervals.share(arrived, runs) if runs else None
    return Convergence(
        *side,
        curve=curve,
        target=target,
        runs=runs,
        diverged=group.diverged,
        arrived=arrived,
        hit_rate=arrived / runs if runs else None,
        hit_rate_low=share.low if share else None,
        hit_rate_high=share.high if share else None,
        median=middle,
        expected_epochs=expected,
        median_seconds=None if middle is None or seconds is None else middle * seconds,
        expected_seconds=None if expected is None or seconds is None else expected * seconds,
        ecdf=ecdf(group),
    )


@dataclass(frozen=True)
class Race:
    """Which of two frameworks arrives first, seed by seed.

    Attributes:
        variant: Name of the variant.
        pairs: Number of pairs that did not diverge.
        torch_first: Pairs in which Torch arrives in an earlier epoch; a miss is later than any.
        keras_first: Pairs in which Keras does.
        neither: Pairs in which neither arrives; where both do, in one epoch, they are together.
        sign_test: Two-sided p-value of the sign test, ties left out; None where all are ties.
        log_rank: Two-sided p-value of the log-rank test, which knows of no pairs; None where no
            run arrives.
        paired: Whether seeds make pairs; if not, the log-rank test is the one to read.
    """

    variant: str
    pairs: int
    torch_first: int
    keras_first: int
    neither: int
    sign_test: float | None
    log_rank: float | None
    paired: bool

    @property
    def together(self) -> int:
        """Pairs in which both arrive in one epoch."""
        return self.pairs - self.torch_first - self.keras_first - self.neither

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {**asdict(self), "together": self.together}


def sign_test(first: int, second: int) -> float | None:
    """Two-sided p-value that either side comes first equally often; None without any such pair."""
    decided = first + second
    return float(scipy_stats.binomtest(first, decided).pvalue) if decided else None


def races(
    records: Sequence[Record], target: float, *, paired: bool = True, curve: str = MOVING
) -> list[Race]:
    """One race per variant that both frameworks trained, in order of appearance.

    Args:
        records: The runs of a study.
        target: A test accuracy.
        paired: Whether equal seeds make a pair: not at the alignment naive.
        curve: Name of the curve that has to arrive.
    """
    groups = runs_by_side(record for record in records if curve in record["history"])
    results = []
    for variant in dict.fromkeys(variant for variant, _ in groups):
        torch, keras = groups.get((variant, "torch")), groups.get((variant, "keras"))
        if not torch or not keras:
            continue
        pairs = match(torch, keras).pairs if paired else ()
        hits = [[first_crossing(r["history"][curve], target) or np.inf for r in p] for p in pairs]
        torch_first = sum(t < k for t, k in hits)
        keras_first = sum(k < t for t, k in hits)
        race = Race(
            variant=variant,
            pairs=len(pairs),
            torch_first=torch_first,
            keras_first=keras_first,
            neither=sum(t == k == np.inf for t, k in hits),
            sign_test=sign_test(torch_first, keras_first),
            log_rank=log_rank(arrivals(torch, target, curve), arrivals(keras, target, curve)),
            paired=paired,
        )
        results.append(race)
    return results
