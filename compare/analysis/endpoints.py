"""What of a run is compared: four numbers, each with its margin and its rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType

from compare.spec import Settings
from compare.study.records import Record


@dataclass(frozen=True)
class Endpoint:
    """One number of a run.

    Attributes:
        name: How records of statistics call it.
        title: How a reader calls it.
        value: Takes it from the record of a run that did not diverge; None where the run has none,
            such as a target that it never reaches.
        is_ratio: Whether two runs are compared by their ratio: differences are taken of logarithms.
        higher_is_better: Which way is the better one.
        rounding: dtype → the largest difference that rounding alone explains.
    """

    name: str
    title: str
    value: Callable[[Record], float | None]
    is_ratio: bool
    higher_is_better: bool
    rounding: Mapping[str, float]

    def on_scale(self, value: float) -> float:
        """The value on the scale on which differences are taken."""
        return math.log(value) if self.is_ratio else value

    def from_scale(self, difference: float) -> float:
        """A difference as a reader wants it: a ratio for ratios."""
        return math.exp(difference) if self.is_ratio else difference


def _area(record: Record) -> float:
    return fmean(record["history"]["test_accuracy"])


_EXACT = MappingProxyType({"float32": 1e-12, "float64": 1e-12})
"""Counts over counts, in float64 whatever the dtype of the training."""

ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType(
    {
        endpoint.name: endpoint
        for endpoint in (
            Endpoint(
                "test_accuracy",
                "final test accuracy",
                lambda record: float(record["final"]["test_accuracy"]),
                False,
                True,
                _EXACT,
            ),
            Endpoint(
                "test_loss",
                "final test loss",
                lambda record: float(record["final"]["test_loss"]),
                False,
                False,
                # Float64: ten times the ladder's bound on a trajectory. Float32: nine of ten pairs
                # of mlp-bn-after end within 3e-8 of each other over 1,000 seeds, and what the
                # others drift to, up to 9e-3, is not to pass for rounding.
                MappingProxyType({"float32": 1e-6, "float64": 1e-11}),
            ),
            Endpoint(
                "epochs_to_target",
                "epochs to the target",
                lambda record: record["epochs_to_target"],
                True,
                False,
                _EXACT,
            ),
            Endpoint(
                "accuracy_area",
                "area under the test accuracy (mean over epochs)",
                _area,
                False,
                True,
                _EXACT,
            ),
        )
    }
)


def margins(endpoint: Endpoint, settings: Settings) -> tuple[float, float]:
    """The margins that a study declared for an endpoint, on the scale of its differences."""
    if endpoint.is_ratio:
        low, high = settings.epochs_ratio_margin
        return math.log(low), math.log(high)
    width = settings.loss_margin if endpoint.name == "test_loss" else settings.accuracy_margin
    return -width, width
