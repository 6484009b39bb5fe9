"""The study's table for a code host's narrow column: the two frameworks under each other."""

from __future__ import annotations

from collections.abc import Sequence

from compare import wording
from compare.readme.markdown import table as table_of
from compare.report import table, verdict_table
from compare.report.results import Results

_TIGHT = "\N{NO-BREAK SPACE}"


def markdown(results: Results) -> str:
    """One row per variant; in it one line per framework, and what is judged of both.

    Args:
        results: A study in both frameworks.
    """
    target = f"epochs to {100 * results.settings.target:g} %"
    heads = ["variant", "", "test accuracy", "Lightning − Keras", target, "s/epoch"]
    marks = ["---", "---", "---:", "---", "---:", "---:"]
    return table_of(heads, marks, _lines(results))


def _lines(results: Results) -> list[list[str]]:
    found = verdict_table.by_variant(results.comparisons, "test_accuracy")
    names = _stacked(list(wording.LABELS.values()))
    lines = []
    for variant, *measures, _ in table.cells(results.rows, ()):
        accuracy, epochs, seconds = (
            _stacked(measures[place : place + 2]) for place in range(0, len(measures), 2)
        )
        judged = found[variant]
        # In a narrow column the interval may go below its estimate, but is not torn itself.
        apart = verdict_table.difference(judged).replace(", ", f",{_TIGHT}")
        lines.append([variant, names, accuracy, f"{judged.verdict}<br>{apart}", epochs, seconds])
    return lines


def _stacked(cells: Sequence[str]) -> str:
    return "<br>".join(cell.replace(" ", _TIGHT) for cell in cells)
