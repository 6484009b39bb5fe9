"""The study's one table as text: what the terminal, the Markdown and the HTML page show alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compare.analysis.summary import Difference, Row
from compare.analysis.tutorial import Line
from compare.wording import LABELS, MISSING, magnitude


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


def judged(line: Sequence[str], verdict: str) -> list[str]:
    """A line of `cells`, or `headings`, with the verdict on both accuracies right of them."""
    return [*line[:3], verdict, *line[3:]]


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
    return MISSING if row.epoch_seconds_median is None else f"{row.epoch_seconds_median:.3g}"


def _diverged(row: Row) -> str:
    return f"{row.diverged} of {row.seeds} diverged"
