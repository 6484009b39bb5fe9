"""The study's one table as text: what the terminal, the Markdown and the HTML page show alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from compare.analysis.batch_norm_effect import Benefit
from compare.analysis.compare_studies import Versus
from compare.analysis.endpoints import ENDPOINTS
from compare.analysis.equivalence import Comparison
from compare.analysis.frames import Difference
from compare.analysis.summary import Line, Row
from compare.analysis.time_to_target import Race
from compare.console import LABELS, MISSING, digits, joined, magnitude, p_value, plural, signed


def headings(target: float) -> list[str]:
    """Headings of the columns of `cells`.

    Args:
        target: The test accuracy that counts as converged, in (0, 1].

    Returns:
        Eight headings.
    """
    measures = ("test accuracy", f"epochs to {100 * target:g} %", "s/epoch")
    sides = [f"{measure} {label}" for measure in measures for label in LABELS.values()]
    return ["variant", *sides, "max |Δp|"]


def cells(rows: Sequence[Row], differences: Sequence[Difference]) -> list[list[str]]:
    """One line per variant, both frameworks side by side.

    Args:
        rows: One per variant and framework, in the order wanted.
        differences: One per variant that has pairs.

    Returns:
        Lines of eight cells, in the order of `headings`. A side that is missing is an en dash.
        Runs that diverged are counted beside the accuracy of the others.
    """
    by_run = {(row.variant, row.framework): row for row in rows}
    gaps = {difference.variant: difference.probability for difference in differences}
    show: tuple[Callable[[Row], str], ...] = (_accuracy, _epochs, _seconds)
    lines = []
    for variant in dict.fromkeys(row.variant for row in rows):
        sides = [by_run.get((variant, framework)) for framework in LABELS]
        measures = [MISSING if row is None else text(row) for text in show for row in sides]
        lines.append([variant, *measures, magnitude(gaps.get(variant))])
    return lines


def judged(line: Sequence[str], *verdict: str) -> list[str]:
    """A line of `cells`, or `headings`, with the verdict on both accuracies right of them."""
    return [*line[:3], *verdict, *line[3:]]


def tutorial_lines(rows: Sequence[Row]) -> list[str]:
    """The lines that the tutorial prints, one per variant and framework, in aligned columns."""
    width = max((len(row.variant) for row in rows), default=0)
    label_width = max(map(len, LABELS.values()))
    return [
        f"{row.variant:<{width}}  {LABELS[row.framework]:<{label_width}}  {_train_and_test(row)}"
        for row in rows
    ]


TUTORIAL_HEADINGS = ("variant", "accuracy", "tutorial", "Keras", "Lightning", "tutorial's lies")


def tutorial_cells(found: Sequence[Line]) -> list[list[str]]:
    """One line per variant and half: the tutorial's accuracy, and the range of our seeds.

    Args:
        found: The tutorial's accuracies beside ours.
    """
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in found:
        groups.setdefault((line.variant, line.half), []).append(line)
    return [
        [
            variant,
            half,
            f"{group[0].reported:.3f}",
            *(_range(next((g for g in group if g.framework == name), None)) for name in LABELS),
            "within" if all(line.within for line in group) else "outside",
        ]
        for (variant, half), group in groups.items()
    ]


def _range(line: Line | None) -> str:
    return MISSING if line is None else f"{line.low:.3f} to {line.high:.3f}"


def _train_and_test(row: Row) -> str:
    if row.train_accuracy_mean is None or row.test_accuracy_mean is None:
        return _diverged(row)
    text = f"Train: {row.train_accuracy_mean:.3f}, Test: {row.test_accuracy_mean:.3f}"
    return f"{text} ({_diverged(row)})" if row.diverged else text


def _accuracy(row: Row) -> str:
    if row.test_accuracy_mean is None:
        return _diverged(row)
    text = f"{row.test_accuracy_mean:.3f}"
    if row.test_accuracy_interval is not None:
        low, high = row.test_accuracy_interval
        text += f" [{low:.3f}, {high:.3f}]"
    elif row.test_accuracy_std is not None:
        text += f" ± {row.test_accuracy_std:.3f}"
    return f"{text} ({_diverged(row)})" if row.diverged else text


def _epochs(row: Row) -> str:
    fine = row.seeds - row.diverged
    if not fine:
        return MISSING
    middle = row.epochs_to_target_median
    text = "never" if middle is None else f"{middle:g}"
    # A median of some runs must not pass for a median of all.
    partly = 0 < row.reached_target < fine
    return f"{text} ({row.reached_target} of {fine})" if partly else text


def _seconds(row: Row) -> str:
    return digits(row.epoch_seconds_median)


def _diverged(row: Row) -> str:
    return f"{row.diverged} of {row.seeds} diverged"


EFFECT_HEADINGS = (
    "variant",
    "framework",
    "against",
    "what",
    "pairs",
    "difference",
    "effect",
    "why",
)
VERDICT_HEADINGS = ("variant", "what", "pairs", "difference", "verdict", "why")


def by_variant(comparisons: Iterable[Comparison], metric: str) -> dict[str, Comparison]:
    """Variant → its comparison in one endpoint."""
    return {found.variant: found for found in comparisons if found.metric == metric}


def verdict_lines(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """One line per comparison, in the order of `VERDICT_HEADINGS`."""
    return [
        [
            found.variant,
            ENDPOINTS[found.metric].title,
            _pairs(found),
            difference(found),
            found.verdict,
            _why(found),
        ]
        for found in comparisons
    ]


def effect_lines(benefits: Sequence[Benefit]) -> list[list[str]]:
    """One line per effect of batch normalization, in the order of `EFFECT_HEADINGS`."""
    return [
        [variant, LABELS[found.framework], found.baseline, *middle, found.effect, why]
        for found, line in zip(
            benefits, verdict_lines([b.comparison for b in benefits]), strict=True
        )
        for variant, *middle, _, why in [line]
    ]


def difference(found: Comparison | None) -> str:
    """The estimate with its interval, such as `+0.002 [−0.001, +0.005]`; ratios as `×1.05`."""
    if found is None or found.estimate is None:
        return MISSING
    show = _ratio if ENDPOINTS[found.metric].is_ratio else signed
    if found.low is None or found.high is None:
        return show(found.estimate)
    return f"{show(found.estimate)} [{show(found.low)}, {show(found.high)}]"


def _ratio(value: float) -> str:
    return f"×{value:.3f}"


def _pairs(found: Comparison) -> str:
    return str(found.n) if found.paired else f"{found.n} (unpaired)"


def _why(found: Comparison) -> str:
    left_out = [f"{found.missed} never reached it"] if found.missed else []
    if found.diverged:
        left_out.append(f"{len(found.diverged)} diverged")
    method = [found.method] if found.method else []
    return "; ".join([found.reason, *method, *left_out])


VERSUS_HEADINGS = (
    "variant",
    "framework",
    "accuracy first",
    "accuracy second",
    "second − first",
    "verdict",
    "max |Δp|",
    "s/epoch first",
    "s/epoch second",
)


def versus_lines(found: Sequence[Versus]) -> list[list[str]]:
    """One line per variant and framework, in the order of `VERSUS_HEADINGS`."""
    result = []
    for one in found:
        accuracy = by_variant(one.comparisons, "test_accuracy")[one.first.variant]
        means = [digits(row.test_accuracy_mean, ".3f") for row in (one.first, one.second)]
        paces = [digits(row.epoch_seconds_median, ".3g") for row in (one.first, one.second)]
        judged = [difference(accuracy), accuracy.verdict, magnitude(one.probability)]
        result.append([one.first.variant, LABELS[one.framework], *means, *judged, *paces])
    return result


def changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What differs between two manifests beside the numbers: versions, hardware, commit.

    Args:
        first: Manifest of the first study.
        second: Manifest of the second one.
    """
    flat = [
        {
            **(manifest.get("versions") or {}),
            **(manifest.get("hardware") or {}),
            "git commit": manifest.get("git_commit"),
        }
        for manifest in (first, second)
    ]
    names = dict.fromkeys([*flat[0], *flat[1]])
    return [
        f"{name}: {flat[0].get(name) or 'none'} → {flat[1].get(name) or 'none'}"
        for name in names
        if flat[0].get(name) != flat[1].get(name)
    ]


RACE_HEADINGS = ("variant", "who is first", "test")


def race_lines(found: Iterable[Race]) -> list[list[str]]:
    """One line per race, in the order of `RACE_HEADINGS`."""
    return [[race.variant, *(_paired(race) if race.paired else _unpaired(race))] for race in found]


def _paired(race: Race) -> tuple[str, str]:
    if not race.pairs:
        return "no pair is complete", "no p-value without pairs"
    counts = {
        f"{LABELS['keras']} first": race.keras_first,
        f"{LABELS['torch']} first": race.torch_first,
        "together": race.together,
        "neither arrives": race.neither,
    }
    seen = [f"{name} in {count}" for name, count in counts.items() if count]
    return f"{joined(seen)} of {plural(race.pairs, 'seed')}", _sign_test(race)


def _sign_test(race: Race) -> str:
    if race.sign_test is None:
        return "no p-value: neither is ever first"
    return f"sign test, p = {p_value(race.sign_test)}"


def _unpaired(race: Race) -> tuple[str, str]:
    if race.log_rank is None:
        return "unpaired: no seed decides", "no p-value: too few arrivals"
    return "unpaired: no seed decides", f"log-rank test, p = {p_value(race.log_rank)}"
