"""How far the two runs of a pair end from each other: predictions, weights, moving statistics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compare.analysis.pairing import pairs
from compare.data import Array
from compare.study.records import Record, RunFolder

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
