"""When runs arrive: the share of seeds that has passed the target, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compare.records import Record
from compare.stats import first_crossing

STATISTICS = ("moving", "batch")
"""How batch normalization is evaluated on the test points."""


@dataclass(frozen=True)
class Arrivals:
    """The runs of one variant in one framework that did not diverge.

    Attributes:
        framework: `"keras"` or `"torch"`.
        statistics: One of `STATISTICS`.
        epochs: First epoch at the target of every run that arrived, sorted.
        runs: Number of runs, those that never arrived included.
        last: Number of epochs that were trained: a run without an arrival is unknown beyond.
    """

    framework: str
    statistics: str
    epochs: tuple[int, ...]
    runs: int
    last: int

    @property
    def missed(self) -> int:
        """Number of runs that never arrived."""
        return self.runs - len(self.epochs)

    def steps(self) -> list[tuple[int, float]]:
        """(epoch, share of runs that has arrived by then) at every epoch where one arrives."""
        counts = {epoch: place for place, epoch in enumerate(self.epochs, start=1)}
        return [(epoch, count / self.runs) for epoch, count in counts.items()]


def arrivals(records: Iterable[Record], variant: str, target: float) -> list[Arrivals]:
    """Arrivals of one variant, by framework, and by statistics where batches have their own.

    Args:
        records: Runs of a study; those of other variants and diverged ones are left out.
        variant: Name of the variant.
        target: The test accuracy that counts as converged.
    """
    sides: dict[str, list[Record]] = {}
    for record in records:
        if record["variant"] == variant and record["status"] == "ok":
            sides.setdefault(record["framework"], []).append(record)
    found = []
    for framework, runs in sides.items():
        last = max((len(run["history"].get("test_accuracy") or ()) for run in runs), default=0)
        hits = [run["epochs_to_target"] for run in runs]
        found.append(_arrivals(framework, "moving", hits, last))
        curves = [run["history"].get("batch_statistics_test_accuracy") for run in runs]
        if all(curves):
            early = [first_crossing(curve, target) for curve in curves if curve]
            found.append(_arrivals(framework, "batch", early, last))
    return found


def _arrivals(framework: str, statistics: str, hits: list[int | None], last: int) -> Arrivals:
    arrived = tuple(sorted(hit for hit in hits if hit is not None))
    return Arrivals(framework, statistics, arrived, len(hits), last)
