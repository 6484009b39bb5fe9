"""Numbers about runs: one row per variant and framework, and the differences of pairs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median, stdev
from typing import Any

import numpy as np

from compare.analysis.curves import mean_interval
from compare.analysis.distances import Distance
from compare.study.records import Record, Timing


@dataclass(frozen=True)
class Row:
    """The runs of one variant in one framework, summarized over seeds.

    Means and medians leave out runs that diverged; with none left they are None.

    Attributes:
        variant: Name of the variant.
        framework: `"keras"` or `"torch"`.
        alignment: Alignment of the study.
        seeds: Number of runs, diverged ones included.
        diverged: Number of runs with a loss or a weight that is not finite.
        train_accuracy_mean: Mean final training accuracy, evaluated after the last epoch.
        test_accuracy_mean: Mean final test accuracy.
        test_accuracy_std: Sample standard deviation of it; None below two runs.
        test_accuracy_interval: 95 % interval of the mean (Student's t); None below three runs.
        test_accuracies: The final test accuracies themselves, by seed.
        epochs_to_target_median: Median over seeds, a run that never arrives counting as infinite;
            None where the median itself never arrives.
        reached_target: Number of runs that reached the target.
        epoch_seconds_median: Median over the epochs of all timed fits, where a study at the fast
            pace timed some, else of all runs; None where nothing was timed.
    """

    variant: str
    framework: str
    alignment: str
    seeds: int
    diverged: int
    train_accuracy_mean: float | None
    test_accuracy_mean: float | None
    test_accuracy_std: float | None
    test_accuracies: tuple[float, ...]
    epochs_to_target_median: float | None
    reached_target: int
    epoch_seconds_median: float | None
    test_accuracy_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Difference:
    """How far the two frameworks' runs of one variant end from each other, over all seeds.

    Attributes:
        variant: Name of the variant.
        seeds: Number of pairs.
        probability: Largest absolute difference between test probabilities.
        weights: Largest absolute difference between final weights or moving statistics; NaN where
            the two sides do not have the same tensors, or a value is not a number.
    """

    variant: str
    seeds: int
    probability: float
    weights: float


def rows(records: Iterable[Record], timings: Iterable[Timing] = ()) -> list[Row]:
    """One row per variant and framework, in the order of first appearance."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["variant"], record["framework"]), []).append(record)
    timed: dict[tuple[str, str], list[Timing]] = {}
    for timing in timings:
        timed.setdefault((timing["variant"], timing["framework"]), []).append(timing)
    return [_row(group, timed.get(key, group)) for key, group in groups.items()]


def _row(group: Sequence[Record], timed: Sequence[Mapping[str, Any]]) -> Row:
    first = group[0]
    fine = [r for r in group if r["status"] == "ok"]
    accuracies = [r["final"]["test_accuracy"] for r in fine]
    hits = [r["epochs_to_target"] for r in fine]
    middle = median(math.inf if hit is None else hit for hit in hits) if hits else math.inf
    seconds = [s for t in timed for s in t.get("epoch_seconds") or ()]
    return Row(
        variant=first["variant"],
        framework=first["framework"],
        alignment=first["alignment"],
        seeds=len(group),
        diverged=len(group) - len(fine),
        train_accuracy_mean=mean(r["final"]["train_accuracy"] for r in fine) if fine else None,
        test_accuracy_mean=mean(accuracies) if fine else None,
        test_accuracy_std=stdev(accuracies) if len(fine) > 1 else None,
        test_accuracies=tuple(accuracies),
        epochs_to_target_median=middle if math.isfinite(middle) else None,
        reached_target=sum(hit is not None for hit in hits),
        epoch_seconds_median=median(seconds) if seconds else None,
        test_accuracy_interval=mean_interval(accuracies),
    )


def differences(found: Iterable[Distance]) -> list[Difference]:
    """For every variant that has pairs: how far apart the two sides end."""
    groups: dict[str, list[Distance]] = {}
    for distance in found:
        groups.setdefault(distance.variant, []).append(distance)
    return [
        Difference(
            variant,
            len(group),
            float(np.max([distance.probability for distance in group])),
            float(np.max([distance.weights for distance in group])),
        )
        for variant, group in groups.items()
    ]


def row_json(row: Row) -> dict[str, Any]:
    """The fields of a row that `bn-compare run --json` prints."""
    names = (
        "variant",
        "framework",
        "alignment",
        "seeds",
        "test_accuracy_mean",
        "epochs_to_target_median",
        "epoch_seconds_median",
    )
    return {name: getattr(row, name) for name in names}
