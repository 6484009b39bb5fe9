"""What a report leaves for other programs: `report.json`, `results.csv` and `pairs.csv`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np

from compare.analysis.batch_norm_effect import Benefit, Lag, benefits, lags
from compare.analysis.endpoints import ENDPOINTS
from compare.analysis.equivalence import Comparison, compare_frameworks
from compare.analysis.frames import Difference, Distance, Pair, differences, distances, pairs
from compare.analysis.summary import Line, Row, lines, rows
from compare.analysis.time_to_target import BATCH, MOVING, Convergence, Race, convergence, races
from compare.data import GRID_SIDE, Array
from compare.errors import RunFolderError
from compare.spec import FRAMEWORKS, Settings
from compare.study.records import Record, RunFolder, Timing

METRICS = (
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "running_train_loss",
    "running_train_accuracy",
    "batch_statistics_test_accuracy",
)
_IDENTITY = ("variant", "framework", "seed", "alignment", "pace", "dtype", "status")

_RESAMPLING_SEED = 0

Lines = Iterable[Sequence[object]]
"""A table: headings first."""


@dataclass(frozen=True)
class Results:
    """Everything that is known about one study, computed once; what every page is made of.

    Attributes:
        settings: Settings of the study.
        manifest: Its manifest.
        records: Its runs, in the order in which the report names them.
        timings: Its timed fits.
        distances: How far each pair ends apart.
    """

    settings: Settings
    manifest: Mapping[str, Any]
    records: Sequence[Record]
    timings: Sequence[Timing]
    distances: Sequence[Distance]

    @classmethod
    def read(cls, folder: RunFolder, records: Sequence[Record]) -> Results:
        """Everything from a folder.

        Args:
            folder: The run folder.
            records: Its records, in the order wanted.

        Raises:
            RunFolderError: The arrays of a pair are missing or corrupt.
        """
        found = distances(folder, records)
        return cls(folder.settings, folder.manifest, records, folder.timings(), found)

    @cached_property
    def rows(self) -> list[Row]:
        """One per variant and framework."""
        return rows(self.records, self.timings)

    @cached_property
    def differences(self) -> list[Difference]:
        """One per variant with pairs."""
        return differences(self.distances)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Both frameworks in every endpoint: one per variant that both trained, and endpoint."""
        rng = np.random.default_rng(_RESAMPLING_SEED)
        return compare_frameworks(self.records, self.settings, rng)

    @cached_property
    def benefits(self) -> list[Benefit]:
        """Batch normalization against the same network without, within each framework."""
        rng = np.random.default_rng(_RESAMPLING_SEED)
        return benefits(self.records, self.settings, rng)

    @cached_property
    def lags(self) -> list[Lag]:
        """How much later runs arrive when they are evaluated with moving statistics."""
        return lags(self._with_history, self.settings.target)

    @cached_property
    def tutorial(self) -> list[Line]:
        """The tutorial's accuracies beside ours."""
        return lines(self.records, self.settings)

    @cached_property
    def convergences(self) -> list[Convergence]:
        """Epochs to the target, evaluated with moving statistics and with those of the batch."""
        seconds = {(row.variant, row.framework): row.epoch_seconds_median for row in self.rows}
        return [
            found
            for curve in (MOVING, BATCH)
            for found in convergence(self._with_history, self.settings.target, seconds, curve=curve)
        ]

    @cached_property
    def races(self) -> list[Race]:
        """Which framework arrives at the target first, seed by seed."""
        settings = self.settings
        paired = settings.alignment != "naive"
        return races(self._with_history, settings.target, paired=paired)

    @cached_property
    def _with_history(self) -> list[Record]:
        return [record for record in self.records if record.get("history")]

    @cached_property
    def pairs(self) -> dict[str, list[Pair]]:
        """Variant → its pairs; no entry without one."""
        found: dict[str, list[Pair]] = {}
        for pair in pairs(self.records):
            found.setdefault(pair.variant, []).append(pair)
        return found

    @cached_property
    def variants(self) -> list[str]:
        """Variants, in order of first appearance."""
        return list(dict.fromkeys(record["variant"] for record in self.records))


@dataclass(frozen=True)
class Boundary:
    """The predictions of one seed over the plane: framework → (GRID_SIDE²,)."""

    seed: int
    grids: Mapping[str, Array]


def boundary(folder: RunFolder, records: Iterable[Record], variant: str) -> Boundary | None:
    """The lowest seed with predictions: of both sides, and not diverged, where there is one.

    Raises:
        RunFolderError: Arrays are missing or corrupt, or a grid has another size.
    """
    seeds: dict[int, list[Record]] = {}
    for record in records:
        if record["variant"] == variant:
            seeds.setdefault(record["seed"], []).append(record)

    def rank(seed: int) -> tuple[int, int, int]:
        fine = sum(run["status"] == "ok" for run in seeds[seed])
        return -fine, -len(seeds[seed]), seed

    for seed in sorted(seeds, key=rank):
        grids = {run["framework"]: _grid(folder, run) for run in seeds[seed]}
        found = {framework: grid for framework, grid in grids.items() if grid is not None}
        if found:
            return Boundary(seed, found)
    return None


def _grid(folder: RunFolder, record: Record) -> Array | None:
    grid = folder.arrays(record).get("grid_probability")
    if grid is not None and grid.size != GRID_SIDE**2:
        raise RunFolderError(
            f"{folder.arrays_file(record)}: grid_probability: "
            f"expected {GRID_SIDE**2} numbers, received {grid.size}."
        )
    return grid


def results_csv(records: Iterable[Record]) -> str:
    """One line per run: what it was, its final metrics, when it arrived, how fast it was.

    A number that is not known (a run that diverged, a clock that did not run) is an empty cell.
    """
    lines: list[Sequence[object]] = [
        [*_IDENTITY, *METRICS, "epochs_to_target", "epoch_seconds_median"]
    ]
    for record in records:
        seconds = record.get("epoch_seconds")
        lines.append(
            [
                *(record[name] for name in _IDENTITY),
                *(record["final"].get(name) for name in METRICS),
                record.get("epochs_to_target"),
                median(seconds) if seconds else None,
            ]
        )
    return csv_text(lines)


def pairs_csv(results: Results) -> str:
    """One line per pair: each measure in both frameworks, and Lightning − Keras.

    A number that is not known is an empty cell, and so is a difference with it.
    """
    sides = (*FRAMEWORKS, "difference")
    measured = [f"{name}_{side}" for name in ENDPOINTS for side in sides]
    head = ["variant", "seed", *(f"status_{side}" for side in FRAMEWORKS), *measured]
    lines: list[Sequence[object]] = [[*head, "largest_probability_gap", "largest_weight_gap"]]
    ends = {(found.variant, found.seed): found for found in results.distances}
    for group in results.pairs.values():
        for pair in group:
            cells: list[object] = []
            for endpoint in ENDPOINTS.values():
                keras, torch = (
                    endpoint.value(run) if run["status"] == "ok" else None
                    for run in (pair.keras, pair.torch)
                )
                apart = None if keras is None or torch is None else torch - keras
                cells += [keras, torch, apart]
            found = ends[pair.variant, pair.seed]
            status = (pair.keras["status"], pair.torch["status"])
            lines.append(
                [pair.variant, pair.seed, *status, *cells, found.probability, found.weights]
            )
    return csv_text(lines)


def report_json(results: Results, words: Mapping[str, Any]) -> str:
    """`report.json`: every number that the pages show, in full precision.

    Args:
        results: What was found.
        words: What the pages say around them, as JSON types.
    """
    content = {
        "format": "bn-compare report",
        "format_version": 1,
        **words,
        "pairs": [found.to_json() for found in results.comparisons],
        "benefits": [found.to_json() for found in results.benefits],
        "lags": [found.to_json() for found in results.lags],
        "convergence": [found.to_json() for found in results.convergences],
        "races": [found.to_json() for found in results.races],
        "tutorial": [found.to_json() for found in results.tutorial],
        "rows": [_plain(asdict(row)) for row in results.rows],
        "largest_differences": [_plain(asdict(found)) for found in results.differences],
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def csv_text(lines: Lines) -> str:
    """A table as CSV; None and NaN are empty cells."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in line]
        for line in lines
    )
    return text.getvalue()


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: null stands for it."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
