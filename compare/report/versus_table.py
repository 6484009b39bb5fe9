"""One study against another as text: a line per variant and framework, and what else differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compare.analysis.versus import Versus
from compare.report import verdict_table
from compare.wording import LABELS, MISSING, magnitude

HEADINGS = (
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


def lines(found: Sequence[Versus]) -> list[list[str]]:
    """One line per variant and framework, in the order of `HEADINGS`."""
    result = []
    for one in found:
        accuracy = verdict_table.by_variant(one.comparisons, "test_accuracy")[one.first.variant]
        means = [_number(row.test_accuracy_mean, ".3f") for row in (one.first, one.second)]
        paces = [_number(row.epoch_seconds_median, ".3g") for row in (one.first, one.second)]
        judged = [verdict_table.difference(accuracy), accuracy.verdict, magnitude(one.probability)]
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


def _number(value: float | None, form: str) -> str:
    return MISSING if value is None else format(value, form)
