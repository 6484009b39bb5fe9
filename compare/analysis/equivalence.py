"""From intervals to a verdict: equivalent, different, or not settled yet, and how far from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from compare.analysis import intervals
from compare.analysis.frames import Matched, is_sound, match
from compare.analysis.intervals import Ends, Interval, Method, chosen, student
from compare.data import Array
from compare.spec import FRAMEWORKS, Settings
from compare.study.records import Record, json_number

WIDE, NARROW = 0.95, 0.90
"""A difference is read off the 95 % interval. An equivalence is read off the 90 % interval: inside
the margins with it is two one-sided tests at 5 %."""

LEVELS = (WIDE, NARROW)

MOST_SEEDS = 100_000
"""More further seeds than this settle nothing that anyone would wait for."""

EQUIVALENT, DIFFERENT, INCONCLUSIVE = "equivalent", "different", "inconclusive"


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


def decide(wide: Ends, narrow: Ends, margins: tuple[float, float]) -> NDArray[np.str_]:
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


def further_seeds(
    differences: Array, margins: tuple[float, float], second: Array | None = None
) -> int | None:
    """How many more seeds would settle an open question, were estimate and spread to stay.

    Args:
        differences: Differences of pairs, (n,), n ≥ 2; or the first of two unpaired groups.
        margins: Smallest and largest difference that counts as none.
        second: The second group, (m,), m ≥ 2, where runs are unpaired.

    Returns:
        Further seeds, for either group where there are two; None for more than `MOST_SEEDS`.
    """
    n = len(differences) if second is None else min(len(differences), len(second))
    estimate = float(differences.mean() - (0.0 if second is None else second.mean()))
    groups = [differences] if second is None else [differences, second]
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
            to stay; None elsewhere, and above `compare.analysis.equivalence.MOST_SEEDS`.
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


@dataclass(frozen=True)
class Endpoint:
    """One number of a run.

    Attributes:
        name: How records of statistics call it.
        title: How a reader calls it.
        value: Takes it from the record of a run that did not diverge; None where the run has none,
            such as a target that it never reaches.
        is_ratio: Whether two runs are compared by their ratio: differences are taken of logarithms.
        higher_is_better: Which way is the better one.
        rounding: dtype → the largest difference that rounding alone explains.
    """

    name: str
    title: str
    value: Callable[[Record], float | None]
    is_ratio: bool
    higher_is_better: bool
    rounding: Mapping[str, float]

    def on_scale(self, value: float) -> float:
        """The value on the scale on which differences are taken."""
        return math.log(value) if self.is_ratio else value

    def from_scale(self, difference: float) -> float:
        """A difference as a reader wants it: a ratio for ratios."""
        return math.exp(difference) if self.is_ratio else difference


def _area(record: Record) -> float:
    return fmean(record["history"]["test_accuracy"])


_EXACT = MappingProxyType({"float32": 1e-12, "float64": 1e-12})
"""Counts over counts, in float64 whatever the dtype of the training."""

ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType(
    {
        endpoint.name: endpoint
        for endpoint in (
            Endpoint(
                "test_accuracy",
                "final test accuracy",
                lambda record: float(record["final"]["test_accuracy"]),
                False,
                True,
                _EXACT,
            ),
            Endpoint(
                "test_loss",
                "final test loss",
                lambda record: float(record["final"]["test_loss"]),
                False,
                False,
                # Float64: ten times the ladder's bound on a trajectory. Float32: nine of ten pairs
                # of mlp-bn-after end within 3e-8 of each other over 1,000 seeds, and what the
                # others drift to, up to 9e-3, is not to pass for rounding.
                MappingProxyType({"float32": 1e-6, "float64": 1e-11}),
            ),
            Endpoint(
                "epochs_to_target",
                "epochs to the target",
                lambda record: record["epochs_to_target"],
                True,
                False,
                _EXACT,
            ),
            Endpoint(
                "accuracy_area",
                "area under the test accuracy (mean over epochs)",
                _area,
                False,
                True,
                _EXACT,
            ),
        )
    }
)


def margins(endpoint: Endpoint, settings: Settings) -> tuple[float, float]:
    """The margins that a study declared for an endpoint, on the scale of its differences."""
    if endpoint.is_ratio:
        low, high = settings.epochs_ratio_margin
        return math.log(low), math.log(high)
    width = settings.loss_margin if endpoint.name == "test_loss" else settings.accuracy_margin
    return -width, width


UNPAIRED = "unpaired: each framework draws its own weights and orders"


@dataclass(frozen=True)
class Comparison:
    """What is known about one endpoint of two sides.

    Attributes:
        variant: Name of the variant.
        metric: Name of the endpoint, from `compare.analysis.equivalence.ENDPOINTS`.
        sides: What is compared: the estimate is the first minus, or over, the second.
        n: Number of pairs; of unpaired runs the smaller number of the two groups.
        estimate: Mean difference, or ratio of geometric means; None without pairs.
        low: Lower end of its 95 % interval; None where none is made.
        high: Upper end.
        method: How the interval was made; empty where none is.
        verdict: One of `compare.analysis.equivalence.VERDICTS`.
        reason: What the verdict rests on, in words.
        margin: Smallest and largest estimate that counts as no difference.
        further_seeds: Where inconclusive, how many more seeds would settle it, were estimate and
            spread to stay; None elsewhere, and where it is more than anyone would wait for.
        paired: Whether equal seeds made a pair.
        share: How many pairs differ; None for unpaired runs and without pairs.
        bootstrap: For unpaired runs the bootstrap interval beside Welch's.
        missed: Pairs, or unpaired runs, left out since a run never reached the target.
        diverged: Names of the runs that diverged; they, and their partners, are left out.
        missing: Names of the runs that are not there although their partner is.
    """

    variant: str
    metric: str
    sides: tuple[str, str]
    n: int
    estimate: float | None
    low: float | None
    high: float | None
    method: str
    verdict: str
    reason: str
    margin: Margins
    further_seeds: int | None = None
    paired: bool = True
    share: Share | None = None
    bootstrap: Interval | None = None
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
            "share": None if self.share is None else _share_json(self.share),
            "bootstrap": None if boot is None else [json_number(boot.low), json_number(boot.high)],
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
    runs = list(records)
    found: list[Comparison] = []
    if set(settings.frameworks) != set(FRAMEWORKS):
        return found
    for variant in dict.fromkeys(str(record["variant"]) for record in runs):
        torch, keras = (
            [r for r in runs if (r["variant"], r["framework"]) == (variant, framework)]
            for framework in ("torch", "keras")
        )
        paired = settings.alignment != "naive"
        found += compare_sides((torch, keras), settings, rng, paired=paired)
    return found


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
    first = next(iter([*groups[0], *groups[1]]))
    variant = sides[0] if by == "variant" else str(first["variant"])
    found = []
    for endpoint in ENDPOINTS.values():
        if paired:
            judged, missed = _paired(endpoint, matched, settings, rng)
            reason = _with_share(judged, endpoint)
        else:
            judged, missed = _unpaired(endpoint, groups, settings, rng)
            reason = f"{judged.reason}; {UNPAIRED}"
        shown = _shown(replace(judged, reason=reason), endpoint, settings, sides)
        named = replace(shown, variant=variant, missed=missed, paired=paired)
        missing = matched.missing if paired else ()
        found.append(replace(named, diverged=matched.diverged, missing=missing))
    return found


def _paired(
    endpoint: Endpoint, matched: Matched, settings: Settings, rng: np.random.Generator
) -> tuple[Judgement, int]:
    values = [(endpoint.value(a), endpoint.value(b)) for a, b in matched.pairs]
    both = [
        endpoint.on_scale(a) - endpoint.on_scale(b)
        for a, b in values
        if a is not None and b is not None
    ]
    rounding = endpoint.rounding[settings.dtype]
    judged = judge(np.array(both), margins(endpoint, settings), rng, rounding=rounding)
    return judged, len(values) - len(both)


def _unpaired(
    endpoint: Endpoint,
    groups: tuple[Sequence[Record], Sequence[Record]],
    settings: Settings,
    rng: np.random.Generator,
) -> tuple[Judgement, int]:
    fine = [[endpoint.value(r) for r in group if is_sound(r)] for group in groups]
    first, second = (
        np.array([endpoint.on_scale(v) for v in side if v is not None]) for side in fine
    )
    judged = judge_unpaired(first, second, margins(endpoint, settings), rng)
    return judged, sum(map(len, fine)) - len(first) - len(second)


def _shown(
    judged: Judgement, endpoint: Endpoint, settings: Settings, sides: tuple[str, str]
) -> Comparison:
    """What a reader gets: ratios instead of differences of logarithms."""

    def shown(value: float | None) -> float | None:
        return None if value is None else endpoint.from_scale(value)

    interval, boot, share = judged.interval, judged.bootstrap, judged.share
    low, high = (endpoint.from_scale(end) for end in margins(endpoint, settings))
    if boot is not None:
        boot = replace(boot, low=endpoint.from_scale(boot.low), high=endpoint.from_scale(boot.high))
    return Comparison(
        variant="",
        metric=endpoint.name,
        sides=sides,
        n=judged.n,
        estimate=shown(judged.estimate),
        low=shown(interval.low if interval else None),
        high=shown(interval.high if interval else None),
        method=interval.method if interval else "",
        verdict=judged.verdict,
        reason=judged.reason,
        margin=(low, high),
        further_seeds=judged.further_seeds,
        share=replace(share, at_most=endpoint.from_scale(share.at_most)) if share else None,
        bootstrap=boot,
    )


def _with_share(judged: Judgement, endpoint: Endpoint) -> str:
    """The reason; where no interval is made, with the number of runs that differ."""
    share = judged.share
    if share is None or judged.interval is not None:
        return judged.reason
    if share.differ == 0:
        return judged.reason
    most = endpoint.from_scale(share.at_most)
    ends = f"{100 * share.interval.low:.0f} to {100 * share.interval.high:.0f} %"
    count = share.in_words(f"×{most:.3g}" if endpoint.is_ratio else f"{most:.3g}")
    return f"{count} (share: {ends}); {judged.reason}"


def _share_json(share: Share) -> dict[str, Any]:
    return {
        "differ": share.differ,
        "n": share.n,
        "low": json_number(share.interval.low),
        "high": json_number(share.interval.high),
        "at_most": json_number(share.at_most),
    }
