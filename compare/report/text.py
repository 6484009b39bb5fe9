"""Are the two the same? The answer of a report in words, from verdicts on test accuracy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from compare.analysis.batch_norm_effect import Benefit, Lag
from compare.analysis.equivalence import VERDICTS, Comparison
from compare.analysis.intervals import FEWEST_PAIRS
from compare.console import LABELS, joined, plural
from compare.spec import Settings

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
    start = f"{_word(first, metric)} in {counts[first]} of {plural(len(effects), 'variant')}"
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


OVERVIEWS: Mapping[str, str] = MappingProxyType(
    {
        "epochs-to-target": "Epochs to the target",
        "parity": "Parity",
        "seconds-per-epoch": "Seconds per epoch",
    }
)
"""Name of a figure over all variants → the title of its section."""

_VERDICTS = (
    "Each number of a run is compared between the frameworks, Lightning − Keras (Lightning ÷ Keras "
    "for epochs), paired by seed. Identical: all pairs agree to rounding. Equivalent: the 90 % "
    "interval lies inside the margins that the settings name, which is two one-sided tests at 5 %. "
    "Different: the 95 % interval excludes no difference, and the pair is not equivalent. "
    "Refused: too few pairs, or too few distinct values, for an interval to mean anything."
)

_EFFECTS = (
    "Each variant with batch normalization against the same network without it, paired by seed "
    "within a framework. Better and worse are what a verdict “different” means for the number: a "
    "higher accuracy, a lower loss, fewer epochs."
)

EXPLAINED: Mapping[str, str] = MappingProxyType(
    {
        "effects": _EFFECTS,
        "tutorial": "The tutorial prints one run of each; here is where it lies in the range of "
        "our seeds, from the smallest to the largest.",
        "verdicts": _VERDICTS,
        "races": "Seed by seed: which framework reaches the target in an earlier epoch; a run that "
        "never does comes after every other. The two-sided sign test asks whether either comes "
        "first equally often; seeds in which they arrive together, or never, say nothing of it.",
        "epochs-to-target": "The share of seeds whose test accuracy has reached the target, by "
        "epoch. A curve that ends below 1 has runs that never reached it. Where the dashed curve, "
        "evaluated with the statistics of the batch, rises long before the solid one, the network "
        "has learned and its moving statistics lag behind.",
        "parity": "The largest difference of the test loss between the two frameworks over all "
        "pairs, by epoch, on a log scale. Rounding grows from 1e-16 (float64) or 1e-7 (float32); "
        "what starts far above it is a difference of conventions.",
        "seconds-per-epoch": "Epochs of model.fit and Trainer.fit under the clock: the dot is "
        "the median, the line holds 5 to 95 % of the epochs. Networks and "
        "batches are small: this is the overhead of a step, not throughput.",
        "learning-curves": "Keras is the wide pale line, Lightning the thin one over it; each is "
        "the mean over seeds. The shade around the test curves is a pointwise 95 % interval of the "
        "mean (Student’s t). “Train, while training” is the accuracy of the batches as they are "
        "trained on; the other curves are evaluated after each epoch, with the moving statistics. "
        "Where “test, batch statistics” is far above “test”, the network has learned and its "
        "moving statistics lag behind.",
    }
)


def legend(settings: Settings, *, timed: bool) -> str:
    """How to read the table of results.

    Args:
        settings: Settings of the study.
        timed: Whether fits were timed apart.
    """
    return (
        "Test accuracy: mean over seeds after the last epoch, [95 % interval of the mean, "
        "Student’s t] (± standard deviation below three seeds). "
        f"Epochs to {100 * settings.target:g} %: median over seeds; “(4 of 5)” means that "
        "not every run arrived. "
        f"s/epoch: {_seconds(settings, timed=timed)} max |Δp|: largest difference between the two "
        "sides’ test probabilities, over all pairs and points; NaN where a run of a pair diverged. "
        "Difference: Lightning − Keras of the test accuracy, mean over pairs [95 % interval]."
    )


def _seconds(settings: Settings, *, timed: bool) -> str:
    """What the column of seconds means."""
    if settings.pace == "idiomatic":
        return "median over all epochs of all runs."
    if not timed:
        return "not measured: runs at the fast pace are not timed."
    return "median over steady epochs of model.fit and Trainer.fit, timed apart, in turns."
