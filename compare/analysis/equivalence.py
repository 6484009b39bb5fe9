"""Equivalence testing: are two sides the same, different, or is the question still open?

Each endpoint (`compare.analysis.endpoints`) is compared with margins, the differences that the
study declared too small to matter. The verdict is

| verdict        | when                                                                          |
|----------------|-------------------------------------------------------------------------------|
| `identical`    | all pairs agree to rounding                                                   |
| `equivalent`   | the 90 % interval lies inside the margins: two one-sided tests at 5 %         |
| `different`    | the 95 % interval excludes “no difference”, and they are not equivalent       |
| `inconclusive` | neither; it is known how many further seeds would settle it                   |
| `refused`      | too few pairs, or too few distinct values, for an interval to mean anything   |

Runs with equal seeds make pairs, except at the alignment naive, where two groups are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from compare.analysis import intervals
from compare.analysis.endpoints import ENDPOINTS, Endpoint, Margins, margins
from compare.analysis.frames import is_sound, match, runs_by_side
from compare.analysis.intervals import Ends, Interval, Method, chosen, student
from compare.data import Array
from compare.spec import FRAMEWORKS, Settings
from compare.study.records import Record, json_number

IDENTICAL, EQUIVALENT, DIFFERENT = "identical", "equivalent", "different"
INCONCLUSIVE, REFUSED = "inconclusive", "refused"
VERDICTS = (IDENTICAL, EQUIVALENT, DIFFERENT, INCONCLUSIVE, REFUSED)

WIDE, NARROW = 0.95, 0.90
"""A difference is read off the 95 % interval. An equivalence is read off the 90 % interval: inside
the margins with it is two one-sided tests at 5 %."""

LEVELS = (WIDE, NARROW)

MOST_SEEDS = 100_000
"""More further seeds than this settle nothing that anyone would wait for."""

UNPAIRED = "unpaired: each framework draws its own weights and orders"

_MEANING = {
    EQUIVALENT: "the 90 % interval lies inside the margins",
    DIFFERENT: "the 95 % interval excludes “no difference”, and the 90 % interval reaches beyond "
    "the margins",
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

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        numbers = {"low": self.interval.low, "high": self.interval.high, "at_most": self.at_most}
        counts = {"differ": self.differ, "n": self.n}
        return {**counts, **{name: json_number(value) for name, value in numbers.items()}}


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the numbers say of a difference.

    Attributes:
        n: Number of pairs; of unpaired runs the smaller number of the two groups.
        estimate: Mean difference, or ratio of geometric means; None without pairs.
        low: Lower end of its 95 % interval; None where none is made.
        high: Upper end.
        method: How the interval was made; empty where none is.
        verdict: One of `VERDICTS`.
        reason: What the verdict rests on, in words.
        further_seeds: Where inconclusive, how many more seeds would settle it if mean and spread
            stay as they are; None elsewhere, and above `MOST_SEEDS`.
        share: How many pairs differ; None for unpaired runs and without pairs.
        bootstrap: For unpaired runs the bootstrap interval beside Welch's.
    """

    n: int
    estimate: float | None
    low: float | None = None
    high: float | None = None
    method: str = ""
    verdict: str = REFUSED
    reason: str = ""
    further_seeds: int | None = None
    share: Share | None = None
    bootstrap: Interval | None = None


@dataclass(frozen=True)
class Comparison(Judgement):
    """What is known about one endpoint of two sides; of ratios the judgement holds ratios.

    Attributes:
        variant: Name of the variant.
        metric: Name of the endpoint, from `compare.analysis.endpoints.ENDPOINTS`.
        sides: What is compared: the estimate is the first minus, or over, the second.
        margin: Smallest and largest estimate that counts as no difference.
        paired: Whether equal seeds made a pair.
        missed: Pairs, or unpaired runs, left out since a run never reached the target.
        diverged: Names of the runs that diverged; they, and their partners, are left out.
        missing: Names of the runs that are not there although their partner is.
    """

    variant: str
    metric: str
    sides: tuple[str, str]
    margin: Margins
    paired: bool = True
    missed: int = 0
    diverged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON types; what is not a number is null."""
        as_is = ("variant", "metric", "n", "method", "verdict", "reason", "further_seeds")
        numbers = ("estimate", "low", "high")
        lists = ("sides", "margin", "diverged", "missing")
        boot = self.bootstrap
        return {
            **{name: getattr(self, name) for name in (*as_is, "paired", "missed")},
            **{name: json_number(getattr(self, name)) for name in numbers},
            **{name: list(getattr(self, name)) for name in lists},
            "share": self.share and self.share.to_json(),
            "bootstrap": boot and [json_number(boot.low), json_number(boot.high)],
        }


def compare_frameworks(
    records: Iterable[Record], settings: Settings, rng: np.random.Generator
) -> list[Comparison]:
    """Torch against Keras: every variant that both were to train, every endpoint.

    Args:
        records: The runs of one study.
        settings: Its settings: frameworks, dtype, alignment and margins.
        rng: Draws the resamples.

    Returns:
        One per variant that has runs, and endpoint; none of a study of one framework.
    """
    if set(settings.frameworks) != set(FRAMEWORKS):
        return []
    groups = runs_by_side(records)
    paired = settings.alignment != "naive"
    comparisons: list[Comparison] = []
    for variant in dict.fromkeys(variant for variant, _ in groups):
        runs = (groups.get((variant, "torch"), []), groups.get((variant, "keras"), []))
        comparisons += compare_sides(runs, settings, rng, paired=paired)
    return comparisons


def compare_sides(
    groups: tuple[Sequence[Record], Sequence[Record]],
    settings: Settings,
    rng: np.random.Generator,
    *,
    by: str = "framework",
    sides: tuple[str, str] = ("torch", "keras"),
    paired: bool = True,
) -> list[Comparison]:
    """Compare two groups of runs in every endpoint.

    Args:
        groups: Runs of one variant in one framework on either side; no seed twice; one side may
            have none.
        settings: dtype and margins.
        rng: Draws the resamples.
        by: The field of a record in which the two sides differ.
        sides: What it holds on either side.
        paired: Whether equal seeds make a pair.
    """
    matched = match(*groups, by=by, sides=sides)
    variant = sides[0] if by == "variant" else str([*groups[0], *groups[1]][0]["variant"])
    if paired:
        runs = [[pair[side] for pair in matched.pairs] for side in (0, 1)]
    else:
        runs = [[run for run in group if is_sound(run)] for group in groups]
    comparisons = []
    for endpoint in ENDPOINTS.values():
        first, second = (_values(endpoint, side) for side in runs)
        limits = margins(endpoint, settings)
        samples = [first - second] if paired else [first, second]
        known = [sample[~np.isnan(sample)] for sample in samples]
        if paired:
            judgement = judge(known[0], limits, rng, rounding=endpoint.rounding[settings.dtype])
            reason = _with_share(judgement, endpoint)
        else:
            judgement = judge_unpaired(known[0], known[1], limits, rng)
            reason = f"{judgement.reason}; {UNPAIRED}"
        comparison = Comparison(
            variant,
            endpoint.name,
            sides,
            margin=(endpoint.from_scale(limits[0]), endpoint.from_scale(limits[1])),
            paired=paired,
            missed=sum(map(len, samples)) - sum(map(len, known)),
            diverged=matched.diverged,
            missing=matched.missing if paired else (),
            **vars(_from_scale(judgement, endpoint)) | {"reason": reason},
        )
        comparisons.append(comparison)
    return comparisons


def _values(endpoint: Endpoint, runs: Iterable[Record]) -> Array:
    """One number per run on the scale of differences, NaN where a run has none."""
    values = [endpoint.value(run) for run in runs]
    scaled = [math.nan if value is None else endpoint.on_scale(value) for value in values]
    return np.array(scaled, dtype=np.float64)


def _from_scale(judgement: Judgement, endpoint: Endpoint) -> Judgement:
    """What a reader gets: ratios instead of differences of logarithms."""
    share, boot = judgement.share, judgement.bootstrap
    ends = (judgement.estimate, judgement.low, judgement.high)
    estimate, low, high = (None if end is None else endpoint.from_scale(end) for end in ends)
    if share is not None:
        share = replace(share, at_most=endpoint.from_scale(share.at_most))
    if boot is not None:
        boot = replace(boot, low=endpoint.from_scale(boot.low), high=endpoint.from_scale(boot.high))
    return replace(judgement, estimate=estimate, low=low, high=high, share=share, bootstrap=boot)


def _with_share(judgement: Judgement, endpoint: Endpoint) -> str:
    """The reason; where no interval is made, with the number of runs that differ."""
    share = judgement.share
    if share is None or judgement.method or share.differ == 0:
        return judgement.reason
    most = endpoint.from_scale(share.at_most)
    ends = f"{100 * share.interval.low:.0f} to {100 * share.interval.high:.0f} %"
    count = share.in_words(f"×{most:.3g}" if endpoint.is_ratio else f"{most:.3g}")
    return f"{count} (share: {ends}); {judgement.reason}"


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
        return Judgement(n=0, estimate=None, reason="no pair is complete")
    differ, at_most = int(np.count_nonzero(differences)), float(np.abs(differences).max())
    share = Share(differ, n, intervals.share(differ, n), at_most)
    start = Judgement(n=n, estimate=float(differences.mean()), share=share)
    if n >= intervals.FEWEST_PAIRS and differ == 0:
        return replace(start, verdict=IDENTICAL, reason=f"all {n} pairs agree to rounding")
    refusal = intervals.refusal(n, int(intervals.distinct(differences[None])[0]))
    if refusal is not None:
        return replace(start, reason=refusal)
    start = replace(start, method=intervals.chosen_method(differences))
    return _decided(start, verdict_ends(differences[None], rng), margins, [differences])


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
        return Judgement(n=0, estimate=None, reason="one side has no run")
    start = Judgement(n=n, estimate=float(first.mean() - second.mean()))
    values = min(int(intervals.distinct(group[None])[0]) for group in (first, second))
    refusal = intervals.refusal(n, values, of="runs")
    if refusal is not None:
        return replace(start, reason=refusal)
    bootstrap = intervals.unpaired_bootstrap(first, second, WIDE, rng)
    start = replace(start, method=intervals.WELCH, bootstrap=bootstrap)
    wide, narrow = intervals.welch(first, second, LEVELS)
    return _decided(start, (wide, narrow), margins, [first, second])


def _decided(
    start: Judgement, ends: tuple[Ends, Ends], margins: Margins, groups: Sequence[Array]
) -> Judgement:
    """The judgement with the wide one of two intervals, and with the verdict of both."""
    wide, narrow = ends
    verdict = str(decide(wide, narrow, margins)[0])
    more = further_seeds(groups, margins) if verdict == INCONCLUSIVE else None
    return replace(
        start,
        low=float(wide[0][0]),
        high=float(wide[1][0]),
        verdict=verdict,
        reason=_MEANING.get(verdict) or _open_question(more),
        further_seeds=more,
    )


def _open_question(more: int | None) -> str:
    condition = "if mean and spread stay as they are"
    if more is None:
        return f"even {MOST_SEEDS:,} further seeds would not settle it, {condition}"
    seeds = "1 further seed" if more == 1 else f"{more:,} further seeds"
    return f"{seeds} would settle it, {condition}"


def verdict_ends(
    differences: Array, rng: np.random.Generator, method: Method = chosen
) -> tuple[Ends, Ends]:
    """The intervals that a verdict is read off.

    An equivalence has to hold by Student's t as well. Of 40,000 samples of ten whose truth lies on
    a margin the bootstrap alone calls 6.0 % equivalent at a skewness of 0.8, and both 5.9 %; at
    0.95 it is 6.4 and 6.2 %.

    Args:
        differences: (rows, n), n ≥ 2.
        rng: Draws the resamples.
        method: Makes the intervals.

    Returns:
        Ends of the 95 % intervals, and of the 90 % intervals widened to hold Student's.
    """
    wide, (low, high) = method(differences, LEVELS, rng)
    ((plain_low, plain_high),) = student(differences, [NARROW], rng)
    return wide, (np.minimum(low, plain_low), np.maximum(high, plain_high))


def decide(wide: Ends, narrow: Ends, margins: Margins) -> NDArray[np.str_]:
    """A verdict for every row.

    Args:
        wide: Ends of the 95 % intervals, each (rows,).
        narrow: Ends of the 90 % intervals, each (rows,).
        margins: Smallest and largest difference that counts as none.

    Returns:
        `"equivalent"`, `"different"` or `"inconclusive"`, (rows,). NaN settles nothing.
    """
    inside = (narrow[0] > margins[0]) & (narrow[1] < margins[1])
    apart = (wide[0] > 0.0) | (wide[1] < 0.0)
    return np.select([inside, apart], [EQUIVALENT, DIFFERENT], INCONCLUSIVE)


def further_seeds(groups: Sequence[Array], margins: Margins) -> int | None:
    """How many more seeds would settle an open question if mean and spread stay as they are.

    Args:
        groups: The differences of pairs, (n,), n ≥ 2; or two unpaired groups, (n,) and (m,).
        margins: Smallest and largest difference that counts as none.

    Returns:
        Further seeds, for either group where there are two; None for more than `MOST_SEEDS`.
    """
    n = min(map(len, groups))
    mean, *others = (float(group.mean()) for group in groups)
    estimate = mean - sum(others)
    spread = math.sqrt(sum(float(group.var(ddof=1)) for group in groups))
    room = max(min(estimate - margins[0], margins[1] - estimate), 0.0)

    def settled(total: int) -> bool:
        freedom = len(groups) * (total - 1)
        error = spread / math.sqrt(total)
        wide, narrow = (scipy_stats.t.ppf((1 + level) / 2, freedom) * error for level in LEVELS)
        return bool(wide < abs(estimate) or narrow < room)

    if not settled(n + MOST_SEEDS):
        return None
    # Intervals only get narrower, so the first total that settles is found by halving.
    low, high = n, n + MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return high - n
