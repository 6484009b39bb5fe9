"""The accuracies that the tutorial prints, beside the range of the seeds measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from compare.analysis.pairing import is_sound
from compare.spec import Settings
from compare.study.records import Record

REPORTED: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "mlp": (0.838, 0.846),
        "mlp-bn-after": (0.846, 0.848),
        "mlp-bn-before": (0.826, 0.830),
    }
)
"""Variant → training and test accuracy after the last epoch, one run each (Brownlee, *How to
Accelerate Learning of Deep Neural Networks With Batch Normalization*, 2019)."""

_DECIDES = (
    *("n_samples", "noise", "data_seed", "epochs", "batch_size"),
    *("learning_rate", "sgd_momentum"),
)


@dataclass(frozen=True)
class Line:
    """One accuracy of the tutorial, and the same one over our seeds.

    Attributes:
        variant: Name of the variant.
        framework: `"keras"` or `"torch"`.
        half: `"train"` or `"test"`.
        reported: What the tutorial prints, to three digits.
        seeds: Number of our runs.
        low: The smallest of them.
        high: The largest.
    """

    variant: str
    framework: str
    half: str
    reported: float
    seeds: int
    low: float
    high: float

    @property
    def within(self) -> bool:
        """Whether the reported one lies in our range, to the digits that it has."""
        return round(self.low, 3) <= self.reported <= round(self.high, 3)

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {**asdict(self), "within": self.within}


def lines(records: Sequence[Record], settings: Settings) -> list[Line]:
    """The tutorial's accuracies beside ours; none for a study that trains in another way.

    Args:
        records: Runs, of which those that diverged are left out.
        settings: Settings of the study.
    """
    theirs = Settings()
    if any(getattr(settings, name) != getattr(theirs, name) for name in _DECIDES):
        return []
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record["variant"] in REPORTED and is_sound(record):
            groups.setdefault((record["variant"], record["framework"]), []).append(record)
    found = []
    for (variant, framework), runs in groups.items():
        for half, reported in zip(("train", "test"), REPORTED[variant], strict=True):
            ours = [run["final"][f"{half}_accuracy"] for run in runs]
            line = Line(variant, framework, half, reported, len(ours), min(ours), max(ours))
            found.append(line)
    return found
