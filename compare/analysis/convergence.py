"""How fast the runs of a variant arrive at a target, counting those that never do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from compare.analysis import intervals
from compare.analysis.arrivals import MOVING, Arrivals, arrivals, ecdf, expected_epochs, median
from compare.study.records import Record


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
    epoch_seconds: Mapping[tuple[str, str], float | None] = MappingProxyType({}),
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
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if curve in record["history"]:
            groups.setdefault((record["variant"], record["framework"]), []).append(record)
    return [
        _convergence(key, arrivals(group, target, curve), epoch_seconds.get(key), (curve, target))
        for key, group in groups.items()
    ]


def _convergence(
    key: tuple[str, str], found: Arrivals, seconds: float | None, what: tuple[str, float]
) -> Convergence:
    runs, arrived = found.runs, len(found.epochs)
    middle, expected = median(found), expected_epochs(found)
    share = intervals.share(arrived, runs) if runs else None
    return Convergence(
        variant=key[0],
        framework=key[1],
        curve=what[0],
        target=what[1],
        runs=runs,
        diverged=found.diverged,
        arrived=arrived,
        hit_rate=arrived / runs if runs else None,
        hit_rate_low=share.low if share else None,
        hit_rate_high=share.high if share else None,
        median=middle,
        expected_epochs=expected,
        median_seconds=None if middle is None or seconds is None else middle * seconds,
        expected_seconds=None if expected is None or seconds is None else expected * seconds,
        ecdf=ecdf(found),
    )
