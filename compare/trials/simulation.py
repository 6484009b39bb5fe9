"""The statistics on trial: how often intervals hold the truth, and verdicts are wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from compare.data import Array
from compare.statistics.decisions import DIFFERENT, EQUIVALENT, WIDE, decide, verdict_ends
from compare.statistics.intervals import FEWEST_VALUES, METHODS, Ends, Method, chosen, distinct
from compare.trials.populations import Population

SIZES = (10, 30)
SIMULATIONS = 10_000
FEWEST_SIMULATIONS = 2000

COVERAGE = (0.93, 0.97)
MOST_FALSE = 0.06


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
        others: Name of each candidate → its coverage over the first 2,000 of these samples.
        false_different: Share of all samples called different when the truth is no difference.
        false_equivalent: Share of all samples called equivalent when the truth lies on a margin,
            the worse of the two.
        reproducible: Whether equal generators make equal intervals.
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
    reproducible: bool
    elsewhere: str

    @property
    def passed(self) -> bool:
        """Whether it is reproducible, and keeps the bounds where they are asked for."""
        if self.elsewhere or not self.reproducible:
            return self.reproducible
        held = self.coverage is not None and COVERAGE[0] <= self.coverage <= COVERAGE[1]
        return held and max(self.false_different, self.false_equivalent) <= MOST_FALSE

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {**asdict(self), "others": dict(self.others), "passed": self.passed}


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
    different, equivalent = _false_verdicts(wide, narrow)
    return Trial(
        population=population.name,
        n=n,
        nonzero=population.nonzero,
        skewness=population.skewness,
        simulations=simulations,
        refused=1.0 - len(usable) / simulations,
        coverage=_coverage(wide, 0.0),
        others={name: _candidate(other, usable, truth, rng) for name, other in others.items()},
        false_different=different / simulations,
        false_equivalent=equivalent / simulations,
        reproducible=_is_reproducible(method, usable),
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


def _false_verdicts(wide: Ends, narrow: Ends) -> tuple[int, int]:
    """How many intervals, relative to the truth, lead to "different", and to "equivalent"."""
    # Margins of no width call nothing equivalent; one margin at the truth and the other far off
    # are the hardest case of two.
    different = decide(wide, narrow, (0.0, 0.0)) == DIFFERENT
    on_a_margin = [decide(wide, narrow, limits) for limits in ((-np.inf, 0.0), (0.0, np.inf))]
    equivalent = max(np.count_nonzero(verdicts == EQUIVALENT) for verdicts in on_a_margin)
    return int(np.count_nonzero(different)), int(equivalent)


def _is_reproducible(method: Method, samples: Array) -> bool:
    """Whether the generator passed in is the only thing that draws."""
    few = samples[:20]
    if len(few) == 0:
        return True
    first, second = (method(few, [WIDE], np.random.default_rng(0)) for _ in range(2))
    return bool(np.array_equal(np.array(first), np.array(second), equal_nan=True))


def _candidate(
    method: Method, samples: Array, truth: float, rng: np.random.Generator
) -> float | None:
    # Bootstraps are slow, and what is only measured beside the chosen interval takes fewer samples.
    some = samples[:FEWEST_SIMULATIONS]
    if len(some) == 0:
        return None
    (ends,) = method(some, [WIDE], rng)
    return _coverage(ends, truth)


def _coverage(ends: Ends, truth: float) -> float | None:
    """Share of intervals that hold the truth; NaN holds nothing."""
    if len(ends[0]) == 0:
        return None
    return float(np.mean((ends[0] <= truth) & (truth <= ends[1])))
