"""Pairs: the same variant and seed, trained in both frameworks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from compare.records import Record


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
