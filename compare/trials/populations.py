"""Populations of paired differences to try statistics on, real ones and made-up ones.

`populations.npz` has how many of the 500 test points every run of a study of 1,000 seeds got
right, (1000,) per group, by seed. It was made by version 0.1.0 with Torch 2.13, Keras 3.15 and
TensorFlow 2.21 on a CPU, from the final test accuracies in the records of

    bn-compare run --variants mlp-bn-after,mlp,mlp-bn-before --seeds 1000 --frameworks torch
    bn-compare run --variants mlp-bn-after --seeds 1000 --frameworks torch --alignment stock
    bn-compare run --variants mlp-bn-after --seeds 1000 --frameworks keras
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from compare.data import Array
from compare.statistics.intervals import DECIMALS

GRID = 0.002
"""One of 500 test points."""

_SIZE = 100_000
_SPREAD = 0.01


@dataclass(frozen=True)
class Population:
    """Differences to draw from, with replacement.

    Attributes:
        name: What it is.
        differences: (values,).
        sides: Where the differences come from runs, the test accuracies of the two sides, each
            (values,), by seed; None for made-up ones.
    """

    name: str
    differences: Array
    sides: tuple[Array, Array] | None = None

    @property
    def mean(self) -> float:
        """The truth that an interval should hold."""
        return float(self.differences.mean())

    @property
    def nonzero(self) -> float:
        """Share of the differences that are not zero."""
        return float(np.mean(np.round(self.differences, DECIMALS) != 0.0))

    @property
    def skewness(self) -> float:
        """Skewness of the differences."""
        return float(scipy_stats.skew(self.differences))

    @property
    def elsewhere(self) -> str:
        """Why intervals are not vouched for here; empty where they are."""
        if self.nonzero < 0.5:
            return (
                "mostly exact zeros: few samples have 3 distinct values, so how many runs differ "
                "is shown instead of an interval"
            )
        if abs(self.skewness) >= 1.0:
            return (
                "skewed: a small sample does not show the long tail, so the largest difference is "
                "shown beside the interval"
            )
        return ""

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Array:
        """Samples of differences, in the shape wanted: (samples, n)."""
        return rng.choice(self.differences, shape)


def populations() -> list[Population]:
    """All of them: of runs first, then made-up ones; the same in every call."""
    return [*_real(), *_made_up()]


def _real() -> list[Population]:
    with resources.files("compare.trials").joinpath("populations.npz").open("rb") as file:
        counts = dict(np.load(file, allow_pickle=False))
    after = "mlp-bn-after"
    names = {
        f"{after} − mlp": (after, "mlp"),
        f"{after} − mlp-bn-before": (after, "mlp-bn-before"),
        f"{after}, exact − stock": (after, f"{after}-stock"),
        f"{after}, Torch − Keras": (after, f"{after}-keras"),
    }
    return [_of_runs(name, counts[a], counts[b]) for name, (a, b) in names.items()]


def _of_runs(name: str, first: NDArray[np.uint16], second: NDArray[np.uint16]) -> Population:
    sides = (first * GRID, second * GRID)
    return Population(name, np.round(sides[0] - sides[1], DECIMALS), sides)


def _made_up() -> list[Population]:
    rng = np.random.default_rng(5)
    normal = rng.normal(0.0, _SPREAD, _SIZE)
    sparse = {share: np.where(rng.random(_SIZE) < share, normal, 0.0) for share in (0.75, 0.3, 0.1)}
    found = [
        Population("normal", _on_grid(normal)),
        Population("normal, narrow", _on_grid(normal / 5)),
        Population("skewness 0.8", _gamma(0.8, rng)),
        Population("skewness 2", _gamma(2.0, rng)),
    ]
    for share, values in sparse.items():
        found.append(Population(f"{100 * (1 - share):.0f} % zeros", _on_grid(values)))
    return found


def _gamma(skewness: float, rng: np.random.Generator) -> Array:
    shape = 4.0 / skewness**2
    return _on_grid(_SPREAD * (rng.gamma(shape, size=_SIZE) - shape) / np.sqrt(shape))


def _on_grid(differences: Array) -> Array:
    return np.round(np.round(differences / GRID) * GRID, DECIMALS)
