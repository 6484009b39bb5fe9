"""Runs as a data frame, one row each; runs as pairs, and how far the two of a pair end apart.

pandas groups and merges. What a report prints is computed with NumPy and `statistics` on the values
of a group, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import pandas as pd

from compare.data import Array
from compare.study.records import Record, RunFolder, json_number, run_name

Side = tuple[str, str]
"""A variant and a framework."""

_FIELDS = ("variant", "framework", "seed", "alignment", "status")
_NUMBERS = ("epochs_to_target", "epoch_seconds")
_FINAL = ("train_accuracy", "test_accuracy")


def run_frame(runs: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per run, in their order.

    Args:
        runs: Records, or timings, which lack some of the fields.

    Returns:
        The columns `variant`, `framework`, `seed`, `alignment`, `status`, `epochs_to_target`,
        `epoch_seconds` (lists), the final `train_accuracy` and `test_accuracy`, and `run` (the
        record itself). They hold objects: a missing number is None, and a count stays an int.
    """
    rows = [
        {
            **{name: run.get(name) for name in (*_FIELDS, *_NUMBERS)},
            **{name: run.get("final", {}).get(name) for name in _FINAL},
            "run": run,
        }
        for run in runs
    ]
    return pd.DataFrame(rows, columns=[*_FIELDS, *_NUMBERS, *_FINAL, "run"], dtype=object)


def by_side(frame: pd.DataFrame) -> dict[Side, pd.DataFrame]:
    """The rows of each variant and framework, in the order of first appearance."""
    groups = frame.groupby(["variant", "framework"], sort=False)
    return {cast(Side, key): group for key, group in groups}


def runs_by_side(records: Iterable[Record]) -> dict[Side, list[Record]]:
    """The runs of each variant and framework, in the order of first appearance."""
    return {side: group["run"].tolist() for side, group in by_side(run_frame(records)).items()}


def is_sound(record: Record) -> bool:
    """Whether a run has all its numbers: it says that it did not diverge, and none is missing."""
    curves = (record["final"].values(), *record["history"].values())
    return record["status"] == "ok" and all(map(_is_finite, curves))


def counted(record: Record) -> Record:
    """A record as a report counts it: a run that lacks a number diverged, whatever it says.

    Args:
        record: Any record; not changed.

    Returns:
        The record itself where it is sound or says that it diverged; else a copy of status
        `"diverged"` with None for each number that is not finite.
    """
    if record["status"] != "ok" or is_sound(record):
        return record
    final = {name: json_number(value) for name, value in record["final"].items()}
    history = {name: [*map(json_number, values)] for name, values in record["history"].items()}
    return {**record, "status": "diverged", "final": final, "history": history}


def _is_finite(values: Collection[float | None]) -> bool:
    # A sum is finite only if every term is; it may overflow, and then each one is looked at.
    numbers = cast("Collection[float]", values)
    try:
        return math.isfinite(sum(numbers)) or all(map(math.isfinite, numbers))
    except TypeError:  # None, where a record could not hold a number
        return False


@dataclass(frozen=True)
class Pair:
    """Two runs that differ in the framework alone."""

    keras: Record
    torch: Record

    @property
    def variant(self) -> str:
        """Name of the variant that both trained."""
        return str(self.keras["variant"])

    @property
    def seed(self) -> int:
        """Seed of both runs."""
        return int(self.keras["seed"])


def pairs(records: Iterable[Record]) -> Iterator[Pair]:
    """Every pair among some records, in the order of the Keras runs; single runs are skipped."""
    frame = run_frame(records)
    keras, torch = (frame[frame["framework"] == name] for name in ("keras", "torch"))
    both = keras.merge(torch, on=["variant", "seed"], suffixes=("_keras", "_torch"))
    return map(Pair, both["run_keras"], both["run_torch"])


@dataclass(frozen=True)
class Matched:
    """Runs of two sides, matched by seed.

    Attributes:
        pairs: First and second side of every seed that both finished.
        diverged: Names of the runs that diverged; with them their partners are left out.
        missing: Names of the runs that the other side has and this one lacks.
    """

    pairs: tuple[tuple[Record, Record], ...]
    diverged: tuple[str, ...]
    missing: tuple[str, ...]


def match(
    first: Iterable[Record],
    second: Iterable[Record],
    *,
    by: str = "framework",
    sides: tuple[str, str] = ("torch", "keras"),
) -> Matched:
    """Match two groups of runs by seed.

    Args:
        first: Runs of one variant in one framework; no seed twice; may be empty.
        second: The same of the other side.
        by: The field of a record in which the two sides differ.
        sides: What it holds on either side.
    """
    left, right = (run_frame(side) for side in (first, second))
    both = left.merge(right, on="seed", how="outer", sort=True, suffixes=("_first", "_second"))
    in_first, in_second = both["run_first"].notna(), both["run_second"].notna()
    complete = both[in_first & in_second]
    lone = ((sides[0], both["run_second"][~in_first]), (sides[1], both["run_first"][~in_second]))
    return Matched(
        pairs=tuple(
            pair
            for pair in zip(complete["run_first"], complete["run_second"], strict=True)
            if all(map(is_sound, pair))
        ),
        diverged=tuple(run_name(r) for r in (*left["run"], *right["run"]) if not is_sound(r)),
        missing=tuple(run_name({**run, by: side}) for side, runs in lone for run in runs),
    )


_TEST, _GRID = "test_probability", "grid_probability"


@dataclass(frozen=True)
class Distance:
    """How far the two runs of one pair end from each other.

    Attributes:
        variant: Name of the variant.
        seed: Seed of both runs.
        probability: Largest absolute difference between test probabilities.
        weights: Largest absolute difference between final weights or moving statistics; NaN where
            the two sides do not have the same tensors, or a value is not a number.
    """

    variant: str
    seed: int
    probability: float
    weights: float


@dataclass(frozen=True)
class Difference:
    """How far the two frameworks' runs of one variant end from each other, over all seeds.

    Attributes:
        variant: Name of the variant.
        seeds: Number of pairs.
        probability: Largest of the pairs' `Distance.probability`.
        weights: Largest of the pairs' `Distance.weights`; NaN where one of them is.
    """

    variant: str
    seeds: int
    probability: float
    weights: float


def distances(folder: RunFolder, records: Iterable[Record]) -> list[Distance]:
    """One per pair, in the order of the Keras runs.

    Raises:
        RunFolderError: The arrays of a pair are missing or corrupt.
    """
    gaps = []
    for pair in pairs(records):
        keras, torch = (folder.arrays(run, plane=False) for run in (pair.keras, pair.torch))
        probability = largest_difference([keras[_TEST]], [torch[_TEST]])
        gaps.append(Distance(pair.variant, pair.seed, probability, weight_gap(keras, torch)))
    return gaps


def differences(distances: Iterable[Distance]) -> list[Difference]:
    """For every variant that has pairs: how far apart the two sides end."""
    frame = pd.DataFrame(list(distances), columns=[field.name for field in fields(Distance)])
    # NumPy's maximum, because that of pandas skips NaN.
    return [
        Difference(
            str(variant),
            len(group),
            *map(float, np.max(group[["probability", "weights"]].to_numpy(), axis=0)),
        )
        for variant, group in frame.groupby("variant", sort=False)
    ]


def weight_gap(first: Mapping[str, Array], second: Mapping[str, Array]) -> float:
    """Largest absolute difference over the weights of two runs; NaN if their names differ."""
    names = sorted(first.keys() - {_TEST, _GRID})
    if names != sorted(second.keys() - {_TEST, _GRID}):
        return math.nan
    return largest_difference([first[n] for n in names], [second[n] for n in names])


def largest_difference(first: Sequence[Array], second: Sequence[Array]) -> float:
    """Largest absolute difference, element by element; NaN if shapes differ or a value is NaN."""
    worst = 0.0
    for a, b in zip(first, second, strict=True):
        if a.shape != b.shape:
            return math.nan
        gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
        worst = float(np.max([worst, gap.max(initial=0.0)]))
    return worst
