"""Does batch normalization help? The answer of a report in words: short, and variant by variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compare.analysis.benefit import Benefit, Lag
from compare.report.answers import joined
from compare.wording import LABELS

HELPS = "Does batch normalization help?"

_ACCURACY, _SPEED = "test_accuracy", "epochs_to_target"
_SUBJECTS = {_ACCURACY: "Final test accuracy is", _SPEED: "Epochs to the target are"}
_SPEED_WORDS = {"better": "fewer", "worse": "more", "no effect that matters": "about as many"}

_LEADS = {
    "better": "Yes",
    "worse": "No",
    "not settled": "Not settled",
    "no effect that matters": "No",
    "no effect": "No",
    "not judged": "Not judged",
}
"""Effect → the answer where it is the first of these that is seen."""

_SHORT = {"no effect that matters": "about the same", "no effect": "the same"}
_APART = "not the same in both frameworks"


def helps(benefits: Sequence[Benefit]) -> str:
    """What batch normalization does to accuracy and speed: one sentence each, in counts.

    Args:
        benefits: One per variant with a baseline, framework and endpoint; may be empty.
    """
    if not benefits:
        return "Nothing to compare: no variant was trained with batch normalization and without."
    effects = {metric: _by_variant(benefits, metric) for metric in _SUBJECTS}
    seen = {effect for sides in effects.values() for side in sides.values() for effect in side}
    lead = "It depends" if {"better", "worse"} <= seen else _LEADS[min(seen, key=_rank)]
    accuracy, speed = (_counted(effects[metric], metric) for metric in _SUBJECTS)
    return (
        f"{lead}. Against the same network without it, final test accuracy is {accuracy}. "
        f"{_SUBJECTS[_SPEED]} {speed}."
    )


def in_full(benefits: Sequence[Benefit], lags: Sequence[Lag]) -> list[str]:
    """The same with the names of the variants, and the lag of the moving statistics.

    Args:
        benefits: One per variant with a baseline, framework and endpoint; may be empty.
        lags: One per variant with batch normalization and framework; may be empty.

    Returns:
        Sentences; none without `benefits`.
    """
    if not benefits:
        return []
    sides = {found.framework for found in benefits}
    sentences = []
    for metric, subject in _SUBJECTS.items():
        groups: dict[str, list[str]] = {}
        for variant, effects in _by_variant(benefits, metric).items():
            for effect, where in effects.items():
                text = variant if len(where) == len(sides) else f"{variant} in {joined(where)}"
                groups.setdefault(effect, []).append(text)
        parts = [
            f"{_word(effect, metric)} for {', '.join(groups[effect])}"
            for effect in sorted(groups, key=_rank)
        ]
        sentences.append(f"{subject} {'; '.join(parts)}.")
    return sentences + _lag(lags)


def _by_variant(benefits: Sequence[Benefit], metric: str) -> dict[str, dict[str, list[str]]]:
    """Variant → effect → labels of the frameworks in which it has it."""
    found: dict[str, dict[str, list[str]]] = {}
    for one in benefits:
        if one.comparison.metric == metric:
            effects = found.setdefault(one.comparison.variant, {})
            effects.setdefault(one.effect, []).append(LABELS[one.framework])
    return found


def _counted(effects: Mapping[str, Mapping[str, Sequence[str]]], metric: str) -> str:
    counts: dict[str, int] = {}
    for sides in effects.values():
        effect = next(iter(sides)) if len(sides) == 1 else _APART
        counts[effect] = counts.get(effect, 0) + 1
    first, *others = sorted(counts, key=_rank)
    of = f"{len(effects)} {'variant' if len(effects) == 1 else 'variants'}"
    start = f"{_word(first, metric)} in {counts[first]} of {of}"
    return joined([start, *(f"{_word(effect, metric)} in {counts[effect]}" for effect in others)])


def _word(effect: str, metric: str) -> str:
    spoken = {**_SHORT, **_SPEED_WORDS} if metric == _SPEED else _SHORT
    return spoken.get(effect, effect)


def _rank(effect: str) -> int:
    return [*_LEADS, _APART].index(effect)


def _lag(lags: Sequence[Lag]) -> list[str]:
    worst = max((lag for lag in lags if lag.epochs), key=lambda lag: lag.epochs or 0, default=None)
    if worst is None:
        return []
    return [
        f"Evaluated with the statistics of the batch instead of the moving ones, {worst.variant} "
        f"arrives {worst.epochs:g} epochs earlier (median): that much is the lag of an average."
    ]
