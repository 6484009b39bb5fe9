"""From timed fits to figures: medians, a paired ratio and its interval; pure functions.

The steady state is every epoch from the second on: the first one traces, compiles and sets up the
loaders. A fit counts with the median of its steady epochs, a configuration with the median of its
fits, so that neither a slow epoch nor a slow fit moves a figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from compare.data import Array
from compare.spec import FRAMEWORKS
from compare.timing.records import KINDS, Measurements, Plan, Point, Process, Sample

CONFIDENCE = 0.95
RESAMPLES = 4999
_ORDER = {kind: place for place, kind in enumerate(KINDS)}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """The figures of one variant, framework and configuration; seconds unless named otherwise.

    Attributes:
        variant: What was trained.
        framework: Where.
        configuration: How.
        kind: `"idiomatic"`, `"floor"` or `"tuned"`.
        repetitions: Timed fits behind the medians.
        epoch_seconds: A steady epoch.
        steps_per_second: Steps of a steady epoch by its duration.
        first_step: Time to the end of the first step, in a process that is warm.
        first_step_cold: The same in the process' warm-up fit; of the idiomatic fit, which comes
            first, it is what a script waits for.
        first_epoch: From the call to the end of the first epoch.
        overhead: 1 − floor / this, paired, the faster floor counting; None for floors.
        import_seconds: See `Process`; of the idiomatic fit alone, as are the next four.
        peak_rss_bytes: See `Process`.
        epochs_to_target: Median over seeds, those that never reach it counting as infinite.
        seconds_to_target: `first_step` + `epochs_to_target` × `epoch_seconds`.
        note: What the framework decided by itself.
        error: Why it could not run.
    """

    variant: str
    framework: str
    configuration: str
    kind: str
    repetitions: int
    epoch_seconds: float | None = None
    steps_per_second: float | None = None
    first_step: float | None = None
    first_step_cold: float | None = None
    first_epoch: float | None = None
    overhead: float | None = None
    import_seconds: float | None = None
    peak_rss_bytes: int | None = None
    epochs_to_target: float | None = None
    seconds_to_target: float | None = None
    note: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Ratio:
    """Keras by Lightning, of seconds per steady epoch.

    Attributes:
        variant: What was trained.
        configuration: How: one that both frameworks have.
        estimate: Median over repetitions of the ratio within a repetition.
        low: Lower end of its interval.
        high: Upper end.
        repetitions: Pairs behind it.
        other_cores: Mean number of cores that other programs kept busy during these fits.
    """

    variant: str
    configuration: str
    estimate: float
    low: float
    high: float
    repetitions: int
    other_cores: float


def steady_seconds(sample: Sample) -> float:
    """Median duration of a fit's epochs from the second on, in seconds."""
    return float(np.median(np.diff(sample.epoch_ends)))


def figures(plan: Plan, measurements: Measurements) -> list[Figure]:
    """One figure per variant, framework and configuration, in the order in which they ran."""
    groups: dict[tuple[str, str, str], list[Sample]] = {}
    for sample in measurements.samples:
        key = (sample.variant, sample.framework, sample.configuration)
        groups.setdefault(key, []).append(sample)
    processes = {(p.variant, p.framework): p for p in measurements.processes}
    rows = []
    for (variant, framework, _), samples in groups.items():
        floor = steady_by_configuration(measurements.samples, variant, framework)["floor"]
        rows.append(_figure(plan, samples, floor, processes.get((variant, framework))))
    variants = list(dict.fromkeys(row.variant for row in rows))
    return sorted(rows, key=lambda f: (variants.index(f.variant), f.framework, _ORDER[f.kind]))


def _figure(
    plan: Plan, samples: Sequence[Sample], floor: dict[int, float], process: Process | None
) -> Figure:
    timed = _warm(samples)
    first = samples[0]
    figure: dict[str, Any] = {
        "variant": first.variant,
        "framework": first.framework,
        "configuration": first.configuration,
        "kind": first.kind,
        "repetitions": len(timed),
        "note": first.note,
        "error": next((s.error for s in samples if s.error is not None), None),
        "first_step_cold": next((s.first_step for s in samples if s.repetition == 0), None),
    }
    if not timed:
        return Figure(**figure)
    epoch = _median(steady_seconds(s) for s in timed)
    steps = [s.first_step for s in timed if s.first_step is not None]
    figure |= {
        "epoch_seconds": epoch,
        "steps_per_second": plan.steps_per_epoch / epoch,
        "first_step": _median(steps) if steps else None,
        "first_epoch": _median(s.epoch_ends[0] for s in timed),
    }
    shares = [1.0 - floor[s.repetition] / steady_seconds(s) for s in timed if s.repetition in floor]
    if first.kind != "floor" and shares:
        figure["overhead"] = _median(shares)
    if first.kind == "idiomatic" and process is not None:
        epochs = median_epochs(process.epochs_to_target)
        seconds = None if epochs is None else figure["first_step"] + epochs * epoch
        figure |= {
            "import_seconds": process.import_seconds,
            "peak_rss_bytes": process.peak_rss_bytes,
            "epochs_to_target": epochs,
            "seconds_to_target": seconds,
        }
    return Figure(**figure)


def median_epochs(epochs: Sequence[int | None]) -> float | None:
    """Median over seeds, one that never reaches the target being infinite; None if that is."""
    middle = _median(np.inf if e is None else e for e in epochs) if epochs else np.inf
    return middle if np.isfinite(middle) else None


def steady_by_configuration(
    samples: Sequence[Sample], variant: str, framework: str
) -> dict[str, dict[int, float]]:
    """Configuration → repetition → seconds per steady epoch.

    The floors are one, `"floor"`: the one that is the fastest by its median.
    """
    seconds: dict[str, dict[int, float]] = {}
    floors: dict[str, dict[int, float]] = {}
    for sample in _warm(samples):
        if (sample.variant, sample.framework) == (variant, framework):
            side = floors if sample.kind == "floor" else seconds
            side.setdefault(sample.configuration, {})[sample.repetition] = steady_seconds(sample)
    fastest = min(floors.values(), key=lambda floor: _median(floor.values()), default={})
    return {**seconds, "floor": fastest}


def ratios(measurements: Measurements) -> list[Ratio]:
    """Keras / Lightning, for every configuration that both have; the fastest floors are a pair."""
    pairs = []
    for variant in dict.fromkeys(sample.variant for sample in measurements.samples):
        samples = [sample for sample in measurements.samples if sample.variant == variant]
        keras, torch = (steady_by_configuration(samples, variant, name) for name in FRAMEWORKS)
        for configuration in (name for name in keras if name in torch):
            sides = keras[configuration], torch[configuration]
            both = sorted(sides[0].keys() & sides[1].keys())
            if len(both) > 1:
                seconds = np.array([[side[r] for r in both] for side in sides])
                floor = configuration == "floor"
                fits = [s for s in samples if floor or s.configuration == configuration]
                load = other_cores(fits) or 0.0
                pairs.append(Ratio(variant, configuration, *interval(*seconds), len(both), load))
    return pairs


def interval(keras: Array, torch: Array) -> tuple[float, float, float]:
    """The median of paired ratios, and its bootstrap interval over repetitions.

    The percentiles of the median of a few resampled ratios are close to the smallest and the
    largest of them: with five repetitions, the interval is about the range of what was seen.

    Args:
        keras: Seconds per epoch, (repetitions,), at least 2.
        torch: The same of the other side, in the same repetitions.

    Returns:
        Estimate, lower and upper end.
    """

    def statistic(a: Array, b: Array, axis: int = -1) -> Array:
        return np.asarray(np.median(a / b, axis=axis))

    ends = bootstrap(
        (keras, torch),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    estimate = float(statistic(keras, torch))
    # Means of two equal ratios may round to either side of them.
    return estimate, min(estimate, float(ends.low)), max(estimate, float(ends.high))


def envelope(points: Sequence[Point]) -> dict[tuple[str, str, str], dict[int, float]]:
    """(axis, framework, kind) → size → seconds per step, the faster floor counting."""
    curves: dict[tuple[str, str, str], dict[int, float]] = {}
    for point in points:
        curve = curves.setdefault((point.axis, point.framework, point.kind), {})
        curve[point.size] = min(curve.get(point.size, np.inf), point.step_seconds)
    return curves


def crossing(curve: dict[int, float]) -> float | None:
    """The size at which a step takes twice the smallest time: overhead ends, arithmetic begins.

    Args:
        curve: Size → seconds per step.

    Returns:
        The size, interpolated between two measured ones on log scales; None if it lies beyond.
    """
    sizes = sorted(curve)
    limit = 2.0 * min(curve.values())
    for left, right in pairwise(sizes):
        if curve[left] < limit <= curve[right]:
            share = np.log(limit / curve[left]) / np.log(curve[right] / curve[left])
            return float(left * (right / left) ** share)
    return None


def other_cores(samples: Sequence[Sample]) -> float | None:
    """Cores that other programs kept busy, the mean over timed fits; None without one."""
    cores = [sample.other_cores for sample in _warm(samples)]
    return float(np.mean(cores)) if cores else None


def _warm(samples: Sequence[Sample]) -> list[Sample]:
    return [s for s in samples if s.repetition > 0 and s.error is None]


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))
