"""Numbers about runs: one row per variant and framework, and the differences of pairs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median, stdev
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from scipy import stats as scipy_stats

from compare.data import Array
from compare.spec import Settings
from compare.study.records import Record, RunFolder, Timing, json_number, run_name


@dataclass(frozen=True)
class EpochSeconds:
    """How long epochs took.

    Attributes:
        variant: Name of the variant.
        framework: `"keras"` or `"torch"`.
        fits: Number of fits under the clock.
        epochs: Number of epochs under the clock, over all fits.
        median: Median over the epochs, in seconds.
        low: Fifth percentile, in seconds.
        high: Ninety-fifth percentile, in seconds.
    """

    variant: str
    framework: str
    fits: int
    epochs: int
    median: float
    low: float
    high: float


def epoch_seconds(timed: Iterable[Mapping[str, Any]]) -> list[EpochSeconds]:
    """One per variant and framework, in order of first appearance.

    Args:
        timed: Timings, or records of runs that were under the clock; those without seconds are
            left out.
    """
    groups: dict[tuple[str, str], list[list[float]]] = {}
    for fit in timed:
        if fit.get("epoch_seconds"):
            key = (fit["variant"], fit["framework"])
            groups.setdefault(key, []).append(fit["epoch_seconds"])
    found = []
    for (variant, framework), fits in groups.items():
        every = np.concatenate([np.asarray(fit, dtype=np.float64) for fit in fits])
        low, median, high = (float(q) for q in np.quantile(every, (0.05, 0.5, 0.95)))
        found.append(EpochSeconds(variant, framework, len(fits), len(every), median, low, high))
    return found


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


def distances(folder: RunFolder, records: Iterable[Record]) -> list[Distance]:
    """One per pair, in the order of the Keras runs.

    Raises:
        RunFolderError: The arrays of a pair are missing or corrupt.
    """
    found = []
    for pair in pairs(records):
        keras, torch = (folder.arrays(run, plane=False) for run in (pair.keras, pair.torch))
        probability = largest_difference([keras[_TEST]], [torch[_TEST]])
        found.append(Distance(pair.variant, pair.seed, probability, weight_gap(keras, torch)))
    return found


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


LEVEL = 0.95
"""Nominal coverage of every interval here."""


@dataclass(frozen=True)
class Band:
    """The mean of some curves, with a pointwise 95 % interval of it (Student's t).

    Attributes:
        mean: (epochs,).
        low: Lower ends, (epochs,); NaN for fewer than three curves.
        high: Upper ends.
        n: Number of curves.
    """

    mean: Array
    low: Array
    high: Array
    n: int


def matrix(records: Iterable[Record], key: str) -> Array:
    """One history of every run that did not diverge and has it, (runs, epochs)."""
    found = [
        run["history"][key]
        for run in records
        if run["status"] == "ok" and run.get("history", {}).get(key)
    ]
    epochs = min(map(len, found), default=0)
    return np.array([curve[:epochs] for curve in found], dtype=np.float64).reshape(
        len(found), epochs
    )


def gaps(pairs: Iterable[Pair], key: str) -> Array:
    """Lightning − Keras of one history, of every pair that did not diverge, (pairs, epochs)."""
    fine = [p for p in pairs if p.keras["status"] == p.torch["status"] == "ok"]
    keras, torch = (
        matrix(runs, key) for runs in ([p.keras for p in fine], [p.torch for p in fine])
    )
    epochs = min(keras.shape[1], torch.shape[1]) if keras.shape[0] == torch.shape[0] else 0
    return torch[:, :epochs] - keras[:, :epochs] if epochs else np.empty((0, 0))


def band(curves: Array) -> Band | None:
    """Mean and interval of curves, (n, epochs); None without a curve."""
    n = len(curves)
    if not curves.size:
        return None
    mean = curves.mean(axis=0)
    half = np.full_like(mean, np.nan)
    if n > 2:
        half = scipy_stats.t.ppf((1 + LEVEL) / 2, n - 1) * curves.std(axis=0, ddof=1) / np.sqrt(n)
    return Band(mean, mean - half, mean + half, n)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean (Student's t); None below three values or where all are equal."""
    found = band(np.array(values, dtype=np.float64).reshape(-1, 1))
    if found is None or found.n < 3 or not np.ptp(values):
        return None
    return float(found.low[0]), float(found.high[0])


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
