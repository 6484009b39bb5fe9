"""The questions of a reader, each answered from verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from compare.judgements import VERDICTS
from compare.verdicts import Comparison

SAME = "Are the two the same?"

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
