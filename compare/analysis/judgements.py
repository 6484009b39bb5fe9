"""What some numbers say: one `Judgement` on the differences of pairs, or on two groups."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from compare.analysis import intervals
from compare.analysis.decisions import (
    INCONCLUSIVE,
    LEVELS,
    MOST_SEEDS,
    WIDE,
    decide,
    further_seeds,
    verdict_ends,
)
from compare.analysis.intervals import Interval
from compare.data import Array

Margins = tuple[float, float]
"""Smallest and largest difference that counts as none."""

IDENTICAL, REFUSED = "identical", "refused"
VERDICTS = (IDENTICAL, "equivalent", "different", INCONCLUSIVE, REFUSED)

_MEANING = {
    "equivalent": "the 90 % interval lies inside the margins",
    "different": "the 95 % interval excludes no difference, and the 90 % one leaves the margins",
}


@dataclass(frozen=True)
class Share:
    """How many pairs differ at all, and by how much at most.

    Attributes:
        differ: Number of pairs that differ by more than rounding.
        n: Number of pairs, ≥ 1.
        interval: Clopper–Pearson's 95 % interval of the share.
        at_most: Largest absolute difference; the largest ratio, at least 1, of ratios.
    """

    differ: int
    n: int
    interval: Interval
    at_most: float

    def in_words(self, most: str) -> str:
        """`3 of 10 runs differ, by at most 0.006`.

        Args:
            most: `at_most` as a reader wants it.
        """
        verb, by = ("differs", "by") if self.differ == 1 else ("differ", "by at most")
        return f"{self.differ} of {self.n} runs {verb}, {by} {most}"


@dataclass(frozen=True)
class Judgement:
    """What the numbers say of a difference.

    Attributes:
        n: Number of pairs; of unpaired runs the smaller number of the two groups.
        estimate: Mean difference; None without pairs.
        verdict: One of `VERDICTS`.
        reason: What the verdict rests on.
        interval: 95 % interval; None where none is made.
        further_seeds: Where inconclusive, how many more would settle it, were estimate and spread
            to stay; None elsewhere, and above `compare.analysis.decisions.MOST_SEEDS`.
        share: How many pairs differ; None for unpaired groups and without pairs.
        bootstrap: For unpaired groups the bootstrap interval beside Welch's.
    """

    n: int
    estimate: float | None
    verdict: str
    reason: str
    interval: Interval | None = None
    further_seeds: int | None = None
    share: Share | None = None
    bootstrap: Interval | None = None


def judge(
    differences: Array, margins: Margins, rng: np.random.Generator, *, rounding: float = 0.0
) -> Judgement:
    """Judge the differences of pairs.

    Args:
        differences: (n,), each finite; n may be 0.
        margins: Smallest and largest difference that counts as none.
        rng: Draws the resamples.
        rounding: Largest absolute difference that rounding alone explains; it counts as zero.
    """
    # Rounding noise has many distinct values, and would pass for a spread that was measured.
    differences = np.where(np.abs(differences) <= rounding, 0.0, differences)
    differences = np.round(differences, intervals.DECIMALS)
    n = len(differences)
    if n == 0:
        return Judgement(0, None, REFUSED, "no pair is complete")
    share = _share(differences)
    start = Judgement(n, float(differences.mean()), REFUSED, "", share=share)
    if n >= intervals.FEWEST_PAIRS and share.differ == 0:
        return replace(start, verdict=IDENTICAL, reason=f"all {n} pairs agree to rounding")
    refused = intervals.refusal(n, int(intervals.distinct(differences[None])[0]))
    if refused is not None:
        return replace(start, reason=refused)
    wide, narrow = verdict_ends(differences[None], rng)
    verdict = str(decide(wide, narrow, margins)[0])
    more = further_seeds(differences, margins) if verdict == INCONCLUSIVE else None
    method = intervals.chosen_method(differences)
    return replace(
        start,
        verdict=verdict,
        reason=_reason(verdict, more),
        interval=Interval(float(wide[0][0]), float(wide[1][0]), method),
        further_seeds=more,
    )


def judge_unpaired(
    first: Array, second: Array, margins: Margins, rng: np.random.Generator
) -> Judgement:
    """Judge mean(first) − mean(second) of groups without pairs, by Welch's interval.

    Args:
        first: (n,), each finite; n may be 0.
        second: (m,), each finite; m may be 0.
        margins: Smallest and largest difference that counts as none.
        rng: Draws the resamples of the bootstrap interval beside it.
    """
    n = min(len(first), len(second))
    if n == 0:
        return Judgement(0, None, REFUSED, "one side has no run")
    start = Judgement(n, float(first.mean() - second.mean()), REFUSED, "")
    values = min(int(intervals.distinct(group[None])[0]) for group in (first, second))
    refused = intervals.refusal(n, values, of="runs")
    if refused is not None:
        return replace(start, reason=refused)
    wide, narrow = (intervals.welch(first, second, level) for level in LEVELS)
    verdict = str(decide(_row(wide), _row(narrow), margins)[0])
    more = further_seeds(first, margins, second) if verdict == INCONCLUSIVE else None
    return replace(
        start,
        verdict=verdict,
        reason=_reason(verdict, more),
        interval=wide,
        further_seeds=more,
        bootstrap=intervals.unpaired_bootstrap(first, second, WIDE, rng),
    )


def _row(interval: Interval) -> tuple[Array, Array]:
    return np.array([interval.low]), np.array([interval.high])


def _share(differences: Array) -> Share:
    differ = int(np.count_nonzero(differences))
    n = len(differences)
    return Share(differ, n, intervals.share(differ, n), float(np.abs(differences).max()))


def _reason(verdict: str, more: int | None) -> str:
    if verdict != INCONCLUSIVE:
        return _MEANING[verdict]
    if more is None:
        return (
            f"not settled by {MOST_SEEDS:,} further seeds either, were estimate and spread to stay"
        )
    seeds = "1 further seed" if more == 1 else f"{more:,} further seeds"
    return f"{seeds} would settle it, were estimate and spread to stay"
