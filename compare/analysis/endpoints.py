"""The numbers in which two sides are compared, and the margins within which they count as equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType

from compare.spec import Settings
from compare.study.records import Record

Margins = tuple[float, float]
"""Smallest and largest difference that counts as none."""


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


# Counts over counts, in float64 whatever the dtype of the training.
_EXACT = MappingProxyType({"float32": 1e-12, "float64": 1e-12})

# Float64: ten times the ladder's bound on a trajectory. Float32: nine of ten pairs of mlp-bn-after
# end within 3e-8 of each other over 1,000 seeds, and what the others drift to, up to 9e-3, is not
# to pass for rounding.
_LOSS = MappingProxyType({"float32": 1e-6, "float64": 1e-11})

_ENDPOINTS = (
    Endpoint(
        name="test_accuracy",
        title="final test accuracy",
        value=lambda record: float(record["final"]["test_accuracy"]),
        is_ratio=False,
        higher_is_better=True,
        rounding=_EXACT,
    ),
    Endpoint(
        name="test_loss",
        title="final test loss",
        value=lambda record: float(record["final"]["test_loss"]),
        is_ratio=False,
        higher_is_better=False,
        rounding=_LOSS,
    ),
    Endpoint(
        name="epochs_to_target",
        title="epochs to the target",
        value=lambda record: record["epochs_to_target"],
        is_ratio=True,
        higher_is_better=False,
        rounding=_EXACT,
    ),
    Endpoint(
        name="accuracy_area",
        title="area under the test accuracy (mean over epochs)",
        value=lambda record: fmean(record["history"]["test_accuracy"]),
        is_ratio=False,
        higher_is_better=True,
        rounding=_EXACT,
    ),
)

ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType({e.name: e for e in _ENDPOINTS})


def margins(endpoint: Endpoint, settings: Settings) -> Margins:
    """The margins that a study declared for an endpoint, on the scale of its differences."""
    if endpoint.is_ratio:
        low, high = settings.epochs_ratio_margin
        return math.log(low), math.log(high)
    width = settings.loss_margin if endpoint.name == "test_loss" else settings.accuracy_margin
    return -width, width
