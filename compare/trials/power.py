"""How many seeds it takes to find a difference, with pairs and without."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from compare.data import Array
from compare.statistics.decisions import WIDE
from compare.statistics.intervals import Ends, student
from compare.trials.populations import Population

SIMULATIONS = 2000

SHIFT = 0.005
"""The difference that power is asked for: half of the default margin of accuracy."""

POWER = 0.8

_MOST_SEEDS = 2000


@dataclass(frozen=True)
class Power:
    """How many seeds a difference of `SHIFT` needs to be found, with pairs and without.

    Attributes:
        population: Name of the population; its two sides have runs.
        correlation: Correlation of the two sides over seeds.
        curve: Number of seeds → share of samples in which it is found, paired and unpaired.
        paired: Seeds for a power of `POWER` by the paired t test; None above 2,000.
        unpaired: The same by Welch's test.
    """

    population: str
    correlation: float
    curve: Mapping[int, tuple[float, float]]
    paired: int | None
    unpaired: int | None

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {**asdict(self), "curve": {str(n): list(found) for n, found in self.curve.items()}}


def power(
    population: Population, rng: np.random.Generator, *, simulations: int = SIMULATIONS
) -> Power:
    """How many seeds it takes to find a difference of `SHIFT`, with pairs and without.

    Args:
        population: One with sides.
        rng: Draws the samples.
        simulations: Number of samples per number of seeds.
    """
    assert population.sides is not None
    tests = [_Test(population, paired, simulations, rng) for paired in (True, False)]
    return Power(
        population=population.name,
        correlation=float(np.corrcoef(*population.sides)[0, 1]),
        curve={n: (tests[0].power(n), tests[1].power(n)) for n in (3, 5, 10, 20, 30, 50, 100)},
        paired=tests[0].seeds(),
        unpaired=tests[1].seeds(),
    )


@dataclass(frozen=True)
class _Test:
    """A t test at 5 % on samples whose true difference is `SHIFT`."""

    population: Population
    paired: bool
    simulations: int
    rng: np.random.Generator

    def power(self, n: int) -> float:
        """Share of samples of n seeds in which the test finds the difference."""
        shape, shift = (self.simulations, n), SHIFT - self.population.mean
        if self.paired:
            ((low, high),) = student(
                self.population.draw(shape, self.rng) + shift, [WIDE], self.rng
            )
        else:
            assert self.population.sides is not None
            first, second = (self.rng.choice(side, shape) for side in self.population.sides)
            low, high = _welch(first + shift, second)
        return float(np.mean((low > 0.0) | (high < 0.0)))

    def seeds(self) -> int | None:
        """The smallest number of seeds with a power of `POWER`; None above 2,000."""
        low, high = 2, 3
        while self.power(high) < POWER:
            low, high = high, 2 * high
            if high > _MOST_SEEDS:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(middle) >= POWER else (middle, high)
        return high


def _welch(first: Array, second: Array) -> Ends:
    with warnings.catch_warnings():
        # A few samples of three seeds are equal throughout: no interval, and nothing is found.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        ends = scipy_stats.ttest_ind(first, second, axis=1, equal_var=False).confidence_interval(
            WIDE
        )
    return ends.low, ends.high
