"""One study against another of the same settings: two versions, or two machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from compare.analysis.equivalence import Comparison, compare_sides
from compare.analysis.frames import counted, largest_difference, match
from compare.analysis.summary import Row, rows
from compare.errors import InputError
from compare.spec import Settings
from compare.study.records import Record, RunFolder, json_number

FREE = ("variants", "frameworks", "seeds", "pace")
"""Settings that may differ: what both studies trained is compared, at any pace."""

_RESAMPLING_SEED = 0


@dataclass(frozen=True)
class Versus:
    """One variant in one framework, in two studies.

    Attributes:
        framework: `"keras"` or `"torch"`.
        first: The runs of the first study.
        second: The runs of the second one.
        comparisons: Second against first, one per endpoint.
        probability: Largest absolute difference between test probabilities, over all pairs of
            runs that did not diverge; None without one.
    """

    framework: str
    first: Row
    second: Row
    comparisons: tuple[Comparison, ...]
    probability: float | None

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "variant": self.first.variant,
            "framework": self.framework,
            "first": asdict(self.first),
            "second": asdict(self.second),
            "pairs": [found.to_json() for found in self.comparisons],
            "largest_probability_gap": json_number(self.probability),
        }


def check_match(first: RunFolder, second: RunFolder) -> None:
    """Raise unless runs of two studies can be paired.

    Raises:
        InputError: They were trained on other data or with other settings.
    """
    where = f"{first.path} and {second.path}"
    digests = [folder.manifest.get("data_digest") for folder in (first, second)]
    if digests[0] != digests[1]:
        raise InputError(
            f"{where}: trained on other data, so their runs are no pairs: expected data_digest "
            f"{digests[0]}, received {digests[1]}. Compare studies of the same points."
        )
    ours, theirs = first.settings, second.settings
    names = [field.name for field in fields(Settings) if field.name not in FREE]
    apart = [name for name in names if getattr(ours, name) != getattr(theirs, name)]
    if apart:
        listed = "; ".join(
            f"{name}: expected {getattr(ours, name)!r}, received {getattr(theirs, name)!r}"
            for name in apart
        )
        raise InputError(
            f"{where}: other settings, so their runs are no pairs: {listed}. "
            f"Only {', '.join(FREE)} may differ."
        )


def versus(first: RunFolder, second: RunFolder) -> list[Versus]:
    """Compare what both studies trained, paired by seed within a framework.

    Args:
        first: The study to compare with.
        second: The other one.

    Raises:
        InputError: The studies do not match, or have no run in common.
        RunFolderError: Records or arrays are missing or corrupt.
    """
    check_match(first, second)
    ours, theirs = (_groups(map(counted, folder.records())) for folder in (first, second))
    rng = np.random.default_rng(_RESAMPLING_SEED)
    sides = (str(second.path), str(first.path))
    summaries = [_rows(folder, groups) for folder, groups in ((first, ours), (second, theirs))]
    found = []
    for key in (key for key in ours if key in theirs):
        groups = (theirs[key], ours[key])
        comparisons = tuple(compare_sides(groups, first.settings, rng, sides=sides))
        gap = _gap((second, first), groups)
        found.append(Versus(key[1], summaries[0][key], summaries[1][key], comparisons, gap))
    if not found:
        raise InputError(
            f"{first.path} and {second.path}: no variant was trained in the same framework in "
            f"both: expected one of {_names(ours)}, received {_names(theirs)}."
        )
    return found


Key = tuple[str, str]


def _groups(records: Iterable[Record]) -> dict[Key, list[Record]]:
    groups: dict[Key, list[Record]] = {}
    for record in records:
        groups.setdefault((record["variant"], record["framework"]), []).append(record)
    return groups


def _rows(folder: RunFolder, groups: Mapping[Key, Sequence[Record]]) -> dict[Key, Row]:
    every = [record for group in groups.values() for record in group]
    return {(row.variant, row.framework): row for row in rows(every, folder.timings())}


def _gap(
    folders: tuple[RunFolder, RunFolder], groups: tuple[Sequence[Record], Sequence[Record]]
) -> float | None:
    gaps = []
    for pair in match(*groups).pairs:
        tests = [
            folder.arrays(run, plane=False)["test_probability"]
            for folder, run in zip(folders, pair, strict=True)
        ]
        gaps.append(largest_difference(tests[:1], tests[1:]))
    return float(np.max(gaps)) if gaps else None


def _names(groups: Mapping[Key, object]) -> str:
    return ", ".join(f"{variant} {framework}" for variant, framework in groups) or "nothing"
