"""One study against another of the same settings: two versions, or two machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from compare.analysis.equivalence import Comparison, compare_sides
from compare.analysis.frames import counted, largest_difference, match, runs_by_side
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
            "pairs": [comparison.to_json() for comparison in self.comparisons],
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
    names = [field.name for field in fields(Settings) if field.name not in FREE]
    settings = (first.settings, second.settings)
    values = {name: [getattr(side, name) for side in settings] for name in names}
    apart = {name: pair for name, pair in values.items() if pair[0] != pair[1]}
    if apart:
        listed = "; ".join(f"{n}: expected {a!r}, received {b!r}" for n, (a, b) in apart.items())
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
    records = [[counted(record) for record in folder.records()] for folder in (first, second)]
    groups = [runs_by_side(runs) for runs in records]
    summaries = [
        {(row.variant, row.framework): row for row in rows(runs, folder.timings())}
        for runs, folder in zip(records, (first, second), strict=True)
    ]
    rng = np.random.default_rng(_RESAMPLING_SEED)
    names = (str(second.path), str(first.path))
    results = []
    for side in (side for side in groups[0] if side in groups[1]):
        runs = (groups[1][side], groups[0][side])
        comparisons = tuple(compare_sides(runs, first.settings, rng, sides=names))
        gap = _gap((second, first), runs)
        results.append(Versus(side[1], summaries[0][side], summaries[1][side], comparisons, gap))
    if not results:
        expected, received = (", ".join(map(" ".join, sides)) or "nothing" for sides in groups)
        raise InputError(
            f"{first.path} and {second.path}: no variant was trained in the same framework in "
            f"both: expected one of {expected}, received {received}."
        )
    return results


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
