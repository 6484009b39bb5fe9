"""Are two sides the same? One `Comparison` per variant and endpoint, from runs matched by seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compare.analysis.endpoints import ENDPOINTS, Endpoint, margins
from compare.analysis.intervals import Interval
from compare.analysis.judgements import Judgement, Margins, Share, judge, judge_unpaired
from compare.analysis.pairing import Matched, is_sound, match
from compare.spec import FRAMEWORKS, Settings
from compare.study.records import Record, json_number

UNPAIRED = "unpaired: each framework draws its own weights and orders"


@dataclass(frozen=True)
class Comparison:
    """What is known about one endpoint of two sides.

    Attributes:
        variant: Name of the variant.
        metric: Name of the endpoint, from `compare.analysis.endpoints.ENDPOINTS`.
        sides: What is compared: the estimate is the first minus, or over, the second.
        n: Number of pairs; of unpaired runs the smaller number of the two groups.
        estimate: Mean difference, or ratio of geometric means; None without pairs.
        low: Lower end of its 95 % interval; None where none is made.
        high: Upper end.
        method: How the interval was made; empty where none is.
        verdict: One of `compare.analysis.judgements.VERDICTS`.
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
