"""The effect of batch normalization: every variant with it against the same network without it.

Its moving statistics lag behind the weights, which looks like slow learning; that lag is measured
by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from compare.analysis.endpoints import ENDPOINTS
from compare.analysis.equivalence import Comparison, compare_sides
from compare.analysis.frames import Side, is_sound, runs_by_side
from compare.analysis.time_to_target import (
    BATCH,
    MOVING,
    Arrivals,
    arrivals,
    expected_epochs,
    median,
)
from compare.spec import VARIANTS, Settings
from compare.study.records import Record
from compare.study.runs import first_crossing

EFFECTS: Mapping[str, str] = MappingProxyType(
    {
        "identical": "no effect",
        "equivalent": "no effect that matters",
        "inconclusive": "not settled",
        "refused": "not judged",
    }
)
"""Verdict → what it says of an effect; `"different"` is `"better"` or `"worse"`."""

_DECAY = 0.99
"""Keras' default, which both twins' builders keep where a variant names no other."""


@dataclass(frozen=True)
class Benefit:
    """The effect of batch normalization on one endpoint, in one framework.

    Attributes:
        framework: `"keras"` or `"torch"`.
        baseline: Name of the network without.
        comparison: Variant against baseline, paired by seed.
        effect: `"better"`, `"worse"`, or one of `EFFECTS`.
    """

    framework: str
    baseline: str
    comparison: Comparison
    effect: str

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        own = {"framework": self.framework, "baseline": self.baseline, "effect": self.effect}
        return {**own, **self.comparison.to_json()}


@dataclass(frozen=True)
class Lag:
    """How much later runs arrive when they are evaluated with moving statistics.

    Both curves are of the same runs: the weights are the same, and only what the test half is
    normalized with differs. The gap is the lag of the moving average, not of learning.

    Attributes:
        variant: Name of the variant.
        framework: `"keras"` or `"torch"`.
        decay: Share of the old statistics that an update keeps.
        target: A test accuracy.
        moving: When runs arrive, evaluated with moving statistics.
        batch: When they arrive, evaluated with the statistics of the test half itself.
        epochs: Median over runs of how many epochs later the moving statistics arrive; None where
            no run arrives both ways.
    """

    variant: str
    framework: str
    decay: float
    target: float
    moving: Arrivals
    batch: Arrivals
    epochs: float | None

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        own = ("variant", "framework", "decay", "target")
        return {
            **{name: getattr(self, name) for name in own},
            "moving": _arrivals_json(self.moving),
            "batch": _arrivals_json(self.batch),
            "lag_epochs": self.epochs,
        }


def _arrivals_json(group: Arrivals) -> dict[str, Any]:
    return {
        "runs": group.runs,
        "arrived": len(group.epochs),
        "diverged": group.diverged,
        "median": median(group),
        "expected_epochs": expected_epochs(group),
    }


def benefits(
    records: Sequence[Record], settings: Settings, rng: np.random.Generator
) -> list[Benefit]:
    """Every variant with batch normalization against its baseline, in every endpoint.

    Runs pair by seed within a framework, whatever the alignment.

    Args:
        records: The runs of one study.
        settings: Its settings: variants, dtype and margins.
        rng: Draws the resamples.

    Returns:
        One per framework, variant that has runs, and endpoint; none without the baseline in the
        settings.
    """
    groups = runs_by_side(records)
    effects = []
    for (variant, framework), runs in groups.items():
        baseline = VARIANTS[variant].baseline
        if baseline is None or baseline not in settings.variants:
            continue
        sides = (runs, groups.get((baseline, framework), []))
        names = (variant, baseline)
        comparisons = compare_sides(sides, settings, rng, by="variant", sides=names)
        effects += [Benefit(framework, baseline, c, effect_of(c)) for c in comparisons]
    return effects


def effect_of(comparison: Comparison) -> str:
    """What a comparison with a baseline says of the effect, in words."""
    if comparison.verdict != "different":
        return EFFECTS[comparison.verdict]
    assert comparison.estimate is not None
    endpoint = ENDPOINTS[comparison.metric]
    higher = endpoint.on_scale(comparison.estimate) > 0.0
    return "better" if higher is endpoint.higher_is_better else "worse"


def lags(records: Sequence[Record], target: float) -> list[Lag]:
    """Evaluation with moving statistics beside evaluation with batch statistics.

    Args:
        records: The runs of one study.
        target: A test accuracy.

    Returns:
        One per variant with batch normalization and framework, in order of appearance.
    """
    return [
        _lag(side, runs, target)
        for side, runs in runs_by_side(records).items()
        if VARIANTS[side[0]].has_batch_norm
    ]


def _lag(side: Side, runs: Sequence[Record], target: float) -> Lag:
    fine = [run["history"] for run in runs if is_sound(run)]
    hits = [[first_crossing(h[curve], target) for curve in (MOVING, BATCH)] for h in fine]
    gaps = [a - b for a, b in hits if a is not None and b is not None]
    decay = VARIANTS[side[0]].options.get("decay", _DECAY)
    assert isinstance(decay, float)
    return Lag(
        *side,
        decay=decay,
        target=target,
        moving=arrivals(runs, target, MOVING),
        batch=arrivals(runs, target, BATCH),
        epochs=float(np.median(gaps)) if gaps else None,
    )
