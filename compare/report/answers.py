"""Are the two the same? The answer of a report in words, from verdicts on test accuracy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from compare.analysis.intervals import FEWEST_PAIRS
from compare.analysis.judgements import VERDICTS
from compare.analysis.verdicts import Comparison

SAME = "Are the two the same?"

_HEADLINE = "test_accuracy"
_ORDER = ("different", "inconclusive", "refused", "identical", "equivalent", "within")
"""Verdicts, what speaks against a yes first; “within” is refused, with small differences alone."""


def same(comparisons: Sequence[Comparison]) -> str:
    """Whether both frameworks end with the same test accuracy, variant by variant.

    Args:
        comparisons: One per variant and endpoint; may be empty.
    """
    found: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        if comparison.metric == _HEADLINE:
            within = comparison.verdict == "refused" and _all_inside(comparison)
            found.setdefault("within" if within else comparison.verdict, []).append(comparison)
    judged = [one for group in found.values() for one in group]
    if not judged:
        return "Nothing to compare: no variant was trained in both frameworks."
    parts = [_part(verdict, found[verdict]) for verdict in _ORDER if verdict in found]
    of = "the one variant" if len(judged) == 1 else f"{len(judged)} variants"
    counts = Counter(comparison.verdict for comparison in comparisons)
    every = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return (
        f"{_lead(set(found), judged)}: final test accuracy, over {of}, is {joined(parts)}."
        f"{_left_out(judged)} All {len(comparisons)} comparisons, with loss, epochs and area: "
        f"{every}."
    )


def _all_inside(one: Comparison) -> bool:
    """Whether there are pairs enough, and no run differs by as much as the margin."""
    low, high = one.margin
    share = one.share
    return share is not None and share.n >= FEWEST_PAIRS and share.at_most < min(-low, high)


def _lead(seen: set[str], judged: Sequence[Comparison]) -> str:
    if "different" in seen:
        return "No"
    if seen == {"refused"}:
        return "Not judged"
    if seen & {"inconclusive", "refused"}:
        return "Not settled"
    whole = not any(one.diverged or one.missing for one in judged)
    if "within" not in seen:
        return "Yes" if whole else "Yes, where both finished"
    # An interval inside the margin speaks of the mean; single runs may lie further apart.
    runs = "in every run" if whole else "in every pair that finished"
    return f"Yes, {runs}" if all(map(_all_inside, judged)) else f"Yes, on average or {runs}"


def _part(verdict: str, group: Sequence[Comparison]) -> str:
    told = {"inconclusive": _further, "refused": _refused, "within": _few}.get(verdict)
    listed = "; ".join(map(told, group)) if told else ", ".join(one.variant for one in group)
    margin = f"±{group[0].margin[1]:g}"
    phrases = {
        "different": f"different in {len(group)} ({listed})",
        "inconclusive": f"not settled in {len(group)} ({listed})",
        "refused": f"not judged in {len(group)} ({listed})",
        "within": f"within {margin} in every run of {len(group)} ({listed})",
        "equivalent": f"equivalent within {margin} in {len(group)} ({listed})",
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


def _few(one: Comparison) -> str:
    """What differs where every difference is small, but there are too few values to judge."""
    assert one.share is not None
    return f"{one.variant}: {one.share.in_words(f'{one.share.at_most:.3g}')}, so no interval"


def _left_out(judged: Sequence[Comparison]) -> str:
    """The runs that are in none of the numbers, counted."""
    diverged, missing = (
        len({name for one in judged for name in getattr(one, group)})
        for group in ("diverged", "missing")
    )
    parts = [f"{diverged} diverged"] if diverged else []
    parts += [f"{missing} missing"] if missing else []
    return f" Left out, with their partners: {joined(parts)}." if parts else ""


def joined(parts: Sequence[str]) -> str:
    """`a, b and c`, of at least one part."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
