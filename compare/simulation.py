"""The statistics on trial: how often intervals hold the truth, and verdicts are wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from compare.data import Array
from compare.decisions import DIFFERENT, EQUIVALENT, WIDE, decide, verdict_ends
from compare.intervals import BCA, FEWEST_VALUES, METHODS, Ends, Method, chosen, distinct, student
from compare.populations import Population

SIZES = (10, 30)
SIMULATIONS = 10_000
FEWEST_SIMULATIONS = 2000

COVERAGE = (0.93, 0.97)
MOST_FALSE = 0.06

SHIFT = 0.005
"""The difference that power is asked for: half of the default margin of accuracy."""

POWER = 0.8
_MOST_SEEDS = 2000


@dataclass(frozen=True)
class Trial:
    """What came of the chosen interval on one population at one number of pairs.

    Attributes:
        population: Its name.
        n: Number of pairs in a sample.
        nonzero: Share of the population's differences that are not zero.
        skewness: Their skewness.
        simulations: Number of samples.
        refused: Share of them without an interval: fewer than 3 distinct differences.
        coverage: Share of the others whose 95 % interval holds the truth; None where there is none.
        others: Name of each candidate → its coverage over the same samples.
        false_different: Share of all samples called different when the truth is no difference.
        false_equivalent: Share of all samples called equivalent when the truth lies on a margin,
            the worse of the two.
        elsewhere: Why the bounds are not asked for here; empty where they are.
    """

    population: str
    n: int
    nonzero: float
    skewness: float
    simulations: int
    refused: float
    coverage: float | None
    others: Mapping[str, float | None]
    false_different: float
    false_equivalent: float
    elsewhere: str

    @property
    def passed(self) -> bool:
        """Whether it keeps the bounds, or is not asked to."""
        if self.elsewhere:
            return True
        held = self.coverage is not None and COVERAGE[0] <= self.coverage <= COVERAGE[1]
        return held and max(self.false_different, self.false_equivalent) <= MOST_FALSE

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {**asdict(self), "others": dict(self.others), "passed": self.passed}


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


def trial(
    population: Population,
    n: int,
    rng: np.random.Generator,
    *,
    simulations: int = SIMULATIONS,
    method: Method = chosen,
    others: Mapping[str, Method] = METHODS,
) -> Trial:
    """Draw samples of n differences, and judge each where the truth is known.

    Nothing is moved in the samples, where zeros mean something: the margins are laid around the
    truth instead.

    Args:
        population: What to draw from.
        n: Differences per sample, ≥ 3.
        rng: Draws samples and resamples.
        simulations: Number of samples.
        method: Makes the intervals that verdicts rest on.
        others: Candidates whose coverage is measured beside it.
    """
    samples = population.draw((simulations, n), rng)
    usable = samples[distinct(samples) >= FEWEST_VALUES]
    truth = population.mean
    wide, narrow = ((low - truth, high - truth) for low, high in verdict_ends(usable, rng, method))
    # Margins of no width call nothing equivalent; one margin at the truth and the other far off
    # are the hardest case of two.
    different = decide(wide, narrow, (0.0, 0.0)) == DIFFERENT
    equivalent = [
        np.count_nonzero(decide(wide, narrow, margins) == EQUIVALENT)
        for margins in ((-np.inf, 0.0), (0.0, np.inf))
    ]
    return Trial(
        population=population.name,
        n=n,
        nonzero=population.nonzero,
        skewness=population.skewness,
        simulations=simulations,
        refused=1.0 - len(usable) / simulations,
        coverage=_coverage(wide, 0.0),
        others={
            name: _candidate(name, other, usable, truth, rng) for name, other in others.items()
        },
        false_different=np.count_nonzero(different) / simulations,
        false_equivalent=max(equivalent) / simulations,
        elsewhere=population.elsewhere,
    )


def trials(
    found: Sequence[Population],
    rng: np.random.Generator,
    *,
    simulations: int = SIMULATIONS,
    method: Method = chosen,
) -> Iterator[Trial]:
    """One trial per population and number of pairs, as they end; see `trial`."""
    for population in found:
        for n in SIZES:
            yield trial(population, n, rng, simulations=simulations, method=method)


def power(
    population: Population, rng: np.random.Generator, *, simulations: int = FEWEST_SIMULATIONS
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
            test = scipy_stats.ttest_ind(first + shift, second, axis=1, equal_var=False)
            ends = test.confidence_interval(WIDE)
            low, high = ends.low, ends.high
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


def _candidate(
    name: str, method: Method, samples: Array, truth: float, rng: np.random.Generator
) -> float | None:
    # SciPy's BCa resamples every sample on its own: half of them cost as much as all others.
    some = samples[:FEWEST_SIMULATIONS] if name == BCA else samples
    if len(some) == 0:
        return None
    (ends,) = method(some, [WIDE], rng)
    return _coverage(ends, truth)


def _coverage(ends: Ends, truth: float) -> float | None:
    """Share of intervals that hold the truth; NaN holds nothing."""
    if len(ends[0]) == 0:
        return None
    return float(np.mean((ends[0] <= truth) & (truth <= ends[1])))
