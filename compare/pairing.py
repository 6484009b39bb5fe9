"""Pairs: the same variant and seed, trained in both frameworks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from compare.records import Record, run_name


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


def match(first: Iterable[Record], second: Iterable[Record]) -> Matched:
    """Match two groups of runs by seed.

    Args:
        first: Runs of one variant in one framework; no seed twice.
        second: The same of the other side.

    Returns:
        The pairs by seed, and what has no place in them. A side without any run has no name, so
        nothing is missing from it.
    """
    left, right = ({int(r["seed"]): r for r in side} for side in (first, second))
    both = sorted(left.keys() & right.keys())
    found = [(left[seed], right[seed]) for seed in both]
    missing = [*_absent(right, left), *_absent(left, right)]
    lost = [r for r in (*left.values(), *right.values()) if r["status"] != "ok"]
    return Matched(
        tuple((a, b) for a, b in found if a["status"] == b["status"] == "ok"),
        tuple(run_name(r) for r in lost),
        tuple(missing),
    )


def _absent(there: Mapping[int, Record], here: Mapping[int, Record]) -> list[str]:
    """Names of the runs that one side has and the other lacks, as the other would call them."""
    if not here:
        return []
    example = next(iter(here.values()))
    return [run_name({**example, "seed": seed}) for seed in sorted(there.keys() - here.keys())]
