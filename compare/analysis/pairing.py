"""Pairs: the same variant and seed, trained in both frameworks."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from compare.study.records import Record, json_number, run_name


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
    by_run = {(r["framework"], r["variant"], r["seed"]): r for r in records}
    for (framework, variant, seed), record in by_run.items():
        partner = by_run.get(("torch", variant, seed))
        if framework == "keras" and partner is not None:
            yield Pair(record, partner)


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
    known = cast("Collection[float]", values)
    try:
        return math.isfinite(sum(known)) or all(map(math.isfinite, known))
    except TypeError:  # None, where a record could not hold a number
        return False


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
    left, right = ({int(r["seed"]): r for r in side} for side in (first, second))
    lost = [
        (run, seed) for side in (left, right) for seed, run in side.items() if not is_sound(run)
    ]
    fine = (left.keys() & right.keys()) - {seed for _, seed in lost}
    missing = [
        run_name({**there[seed], by: name})
        for here, there, name in ((left, right, sides[0]), (right, left, sides[1]))
        for seed in sorted(there.keys() - here.keys())
    ]
    return Matched(
        pairs=tuple((left[seed], right[seed]) for seed in sorted(fine)),
        diverged=tuple(run_name(run) for run, _ in lost),
        missing=tuple(missing),
    )
