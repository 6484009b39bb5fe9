"""The questions of a reader, each answered from verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from compare.benefit import Benefit, Lag
from compare.judgements import VERDICTS
from compare.table import LABELS
from compare.verdicts import Comparison

SAME = "Are the two the same?"
HELPS = "Does batch normalization help?"

_HEADLINE = "test_accuracy"


def same(comparisons: Sequence[Comparison]) -> str:
    """Whether both frameworks end with the same test accuracy, variant by variant.

    Args:
        comparisons: One per variant and endpoint; may be empty.
    """
    found: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        if comparison.metric == _HEADLINE:
            found.setdefault(comparison.verdict, []).append(comparison)
    total = sum(map(len, found.values()))
    if not total:
        return "Nothing to compare: no variant was trained in both frameworks."
    parts = [_part(verdict, found[verdict]) for verdict in _ORDER if verdict in found]
    of = "the one variant" if total == 1 else f"{total} variants"
    counts = Counter(comparison.verdict for comparison in comparisons)
    every = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return (
        f"{_lead(found)}: final test accuracy, over {of}, is {_joined(parts)}. All "
        f"{len(comparisons)} comparisons, with loss, epochs to the target and area: {every}."
    )


def helps(benefits: Sequence[Benefit], lags: Sequence[Lag]) -> str:
    """What batch normalization does to the accuracy and to the epochs that it takes.

    Args:
        benefits: One per variant with a baseline, framework and endpoint; may be empty.
        lags: One per variant with batch normalization and framework; may be empty.
    """
    if not benefits:
        return "Nothing to compare: no variant was trained with batch normalization and without."
    sides = {found.framework for found in benefits}
    found = {
        metric: _effects([b for b in benefits if b.comparison.metric == metric], len(sides))
        for metric in (_HEADLINE, _SPEED)
    }
    seen = {effect for effects in found.values() for effect in effects}
    lead = "It depends" if {"better", "worse"} <= seen else _HELPS[min(seen, key=_rank)]
    accuracy = _listed(found[_HEADLINE])
    text = f"final test accuracy is {accuracy}; epochs to the target are {_listed(found[_SPEED])}"
    return f"{lead}, against the same network without it: {text}.{_lag(lags)}"


_SPEED = "epochs_to_target"
_HELPS = {
    "better": "Yes",
    "worse": "No",
    "not settled": "Not settled",
    "no effect that matters": "No",
    "no effect": "No",
    "not judged": "Not judged",
}
"""Effect → the answer where it is the first of these that is seen."""


def _listed(effects: Mapping[str, Sequence[str]]) -> str:
    parts = [(name, effects[name]) for name in sorted(effects, key=_rank)]
    return _joined([f"{name} in {len(group)} ({', '.join(group)})" for name, group in parts])


def _rank(effect: str) -> int:
    return list(_HELPS).index(effect)


def _effects(benefits: Sequence[Benefit], sides: int) -> dict[str, list[str]]:
    """Effect → variants with it; where the frameworks do not agree, with the framework."""
    by_variant: dict[str, dict[str, list[str]]] = {}
    for found in benefits:
        effects = by_variant.setdefault(found.comparison.variant, {})
        effects.setdefault(found.effect, []).append(LABELS[found.framework])
    named: dict[str, list[str]] = {}
    for variant, effects in by_variant.items():
        for effect, where in effects.items():
            text = variant if len(where) == sides else f"{variant} ({', '.join(where)})"
            named.setdefault(effect, []).append(text)
    return named


def _lag(lags: Sequence[Lag]) -> str:
    worst = max((lag for lag in lags if lag.epochs), key=lambda lag: lag.epochs or 0, default=None)
    if worst is None:
        return ""
    return (
        f" Evaluated with the statistics of the batch instead of the moving ones, {worst.variant} "
        f"arrives {worst.epochs:g} epochs earlier (median): that much is the lag of an average."
    )


_ORDER = ("different", "inconclusive", "refused", "equivalent", "identical")


def _lead(verdicts: Iterable[str]) -> str:
    seen = set(verdicts)
    if "different" in seen:
        return "No"
    if seen == {"refused"}:
        return "Not judged"
    return "Not settled" if seen & {"inconclusive", "refused"} else "Yes"


def _part(verdict: str, group: Sequence[Comparison]) -> str:
    names = ", ".join(one.variant for one in group)
    margin = f"±{group[0].margin[1]:g}"
    phrases = {
        "different": f"different in {len(group)} ({names})",
        "inconclusive": f"not settled in {len(group)} ({', '.join(map(_further, group))})",
        "refused": f"not judged in {len(group)} ({'; '.join(map(_refused, group))})",
        "equivalent": f"equivalent within {margin} in {len(group)} ({names})",
        "identical": f"identical, pair by pair, in {len(group)}",
    }
    return phrases[verdict]


def _further(one: Comparison) -> str:
    if one.further_seeds is None:
        return one.variant
    seeds = "seed" if one.further_seeds == 1 else "seeds"
    return f"{one.variant}: {one.further_seeds:,} further {seeds} would do"


def _refused(one: Comparison) -> str:
    return f"{one.variant}: {one.reason}"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
