"""The numbers behind each figure, as tables; NaN is an empty cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields

import numpy as np

from compare.analysis.frames import Pair
from compare.analysis.summary import Band, EpochSeconds, band, gaps, matrix
from compare.analysis.time_to_target import Convergence
from compare.data import Array, Split, grid_points
from compare.report.figure_curves import ACCURACIES, LOSSES
from compare.report.figures import HISTORIES
from compare.report.results import Lines
from compare.study.records import Record

_BAND = ("epoch", "n", "mean", "low", "high")


def circles(split: Split) -> Lines:
    """The points, by half."""
    yield ("half", "x", "y", "class")
    halves = (("train", split.x_train, split.y_train), ("test", split.x_test, split.y_test))
    for name, points, labels in halves:
        for (x, y), label in zip(points, labels, strict=True):
            yield (name, float(x), float(y), int(label))


def learning_curves(runs: Sequence[Record]) -> Lines:
    """Every curve of one variant: mean and interval by epoch."""
    yield ("framework", "curve", *_BAND)
    for framework in dict.fromkeys(run["framework"] for run in runs):
        mine = [run for run in runs if run["framework"] == framework]
        for key in (*ACCURACIES, *LOSSES):
            middle = band(matrix(mine, key))
            if middle is not None:
                for line in _band_lines(middle):
                    yield (framework, key, *line)


def differences(pairs: Sequence[Pair]) -> Lines:
    """Lightning − Keras of one variant: mean, interval and range by epoch."""
    yield ("curve", *_BAND, "smallest", "largest")
    for key in HISTORIES:
        apart = gaps(pairs, key)
        middle = band(apart)
        if middle is not None:
            edges = zip(apart.min(axis=0), apart.max(axis=0), strict=True)
            for line, (low, high) in zip(_band_lines(middle), edges, strict=True):
                yield (key, *line, float(low), float(high))


def hitting_times(found: Iterable[Convergence]) -> Lines:
    """The steps of every curve, with the number of runs that never arrived."""
    yield ("variant", "framework", "curve", "epoch", "share", "runs", "never")
    for one in found:
        # A curve without a step is still there: nobody arrived.
        steps: Lines = one.ecdf or [(None, 0.0)]
        for step in steps:
            yield (one.variant, one.framework, one.curve, *step, one.runs, one.runs - one.arrived)


def drift(worst: Mapping[str, Array]) -> Lines:
    """Largest difference of the test loss by variant and epoch."""
    yield ("variant", "epoch", "largest_difference")
    for variant, values in worst.items():
        for epoch, value in enumerate(values, start=1):
            yield (variant, epoch, float(value))


def seconds(found: Iterable[EpochSeconds]) -> Lines:
    """Seconds per epoch."""
    yield tuple(field.name for field in fields(EpochSeconds))
    for one in found:
        yield astuple(one)


def boundary(grids: Mapping[str, Array]) -> Lines:
    """Probability of the inner circle over the plane, in each framework."""
    yield ("x", "y", *grids)
    yield from np.column_stack((grid_points(), *grids.values())).tolist()


def _band_lines(middle: Band) -> Lines:
    values = np.column_stack((middle.mean, middle.low, middle.high)).tolist()
    for epoch, line in enumerate(values, start=1):
        yield (epoch, middle.n, *line)
