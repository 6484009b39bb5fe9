"""Monte Carlo checks of the intervals and verdicts: does the truth lie inside as often as promised?

`populations.npz` has how many of the 500 test points every run of a study of 1,000 seeds got right,
(1000,) per group, by seed, from the final test accuracies of

    bn-compare run --variants mlp-bn-after,mlp,mlp-bn-before --seeds 1000 --frameworks torch
    bn-compare run --variants mlp-bn-after --seeds 1000 --frameworks torch --alignment stock
    bn-compare run --variants mlp-bn-after --seeds 1000 --frameworks keras
"""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from compare.analysis import intervals
from compare.analysis.equivalence import DIFFERENT, EQUIVALENT, WIDE, decide, verdict_ends

pytestmark = pytest.mark.slow

SIMULATIONS = 10_000
COVERAGE = (0.93, 0.97)
MOST_FALSE = 0.06
GRID = 0.002
"""One of 500 test points."""


def on_grid(differences):
    return np.round(np.round(differences / GRID) * GRID, intervals.DECIMALS)


def populations():
    """Paired differences to draw from: of real runs, and made up; name → (values,)."""
    counts = dict(np.load(Path(__file__).with_name("populations.npz")))
    after = counts["mlp-bn-after"]
    drawn = {
        "after - mlp": after * GRID - counts["mlp"] * GRID,
        "after - before": after * GRID - counts["mlp-bn-before"] * GRID,
        "exact - stock": after * GRID - counts["mlp-bn-after-stock"] * GRID,
        "Torch - Keras": after * GRID - counts["mlp-bn-after-keras"] * GRID,
    }
    rng = np.random.default_rng(5)
    normal = rng.normal(0.0, 0.01, 100_000)
    drawn |= {"normal": normal, "narrow": normal / 5}
    for share in (0.75, 0.3, 0.1):
        drawn[f"{share:.0%} nonzero"] = np.where(rng.random(100_000) < share, normal, 0.0)
    for skewness in (0.8, 2.0):
        shape = 4.0 / skewness**2
        gamma = rng.gamma(shape, size=100_000) - shape
        drawn[f"skewness {skewness}"] = 0.01 * gamma / np.sqrt(shape)
    return {name: on_grid(differences) for name, differences in drawn.items()}


POPULATIONS = populations()
VOUCHED_FOR = [
    name
    for name, differences in POPULATIONS.items()
    if np.mean(differences != 0.0) >= 0.5 and abs(stats.skew(differences)) < 1.0
]
"""Elsewhere a report shows how many runs differ, and by how much at most, beside the interval."""


def simulate(differences, n, method=intervals.chosen):
    """Coverage, and shares of samples falsely called different and equivalent.

    Nothing is moved in the samples, where zeros mean something: the margins are laid around the
    truth instead. One margin at the truth and the other far off is the hardest case of two.
    """
    rng = np.random.default_rng(0)
    samples = rng.choice(differences, (SIMULATIONS, n))
    samples = samples[intervals.distinct(samples) >= intervals.FEWEST_VALUES]
    truth = differences.mean()
    wide, narrow = ((low - truth, high - truth) for low, high in verdict_ends(samples, rng, method))
    coverage = np.mean((wide[0] <= 0.0) & (wide[1] >= 0.0))
    different = np.mean(decide(wide, narrow, (0.0, 0.0)) == DIFFERENT)
    equivalent = max(
        np.mean(decide(wide, narrow, margins) == EQUIVALENT)
        for margins in ((-np.inf, 0.0), (0.0, np.inf))
    )
    return coverage, different, equivalent


def test_six_populations_are_vouched_for():
    assert len(POPULATIONS) == 11
    assert len(VOUCHED_FOR) == 6


@pytest.mark.parametrize("n", [10, 30])
@pytest.mark.parametrize("name", VOUCHED_FOR)
def test_intervals_and_verdicts_keep_their_promise(name, n):
    coverage, different, equivalent = simulate(POPULATIONS[name], n)
    assert COVERAGE[0] <= coverage <= COVERAGE[1]
    assert max(different, equivalent) <= MOST_FALSE


def narrowed(factor):
    """The chosen intervals, narrowed around their middle."""

    def method(differences, levels, rng):
        ends = intervals.chosen(differences, levels, rng)
        middles = [((low + high) / 2, (high - low) / 2) for low, high in ends]
        return [(middle - factor * half, middle + factor * half) for middle, half in middles]

    return method


def around_zero(differences, levels, rng):
    """Intervals that hold zero whatever the sample says."""
    ends = intervals.student(differences, levels, rng)
    return [((low - high) / 2, (high - low) / 2) for low, high in ends]


@pytest.mark.parametrize("method", [narrowed(0.8), narrowed(1.3), around_zero, intervals.bca])
def test_the_simulation_sees_a_wrong_interval(method):
    normal = np.random.default_rng(1).normal(0.3, 1.0, 50_000)
    coverage, different, equivalent = simulate(normal, 10, method)
    held = COVERAGE[0] <= coverage <= COVERAGE[1]
    assert not (held and max(different, equivalent) <= MOST_FALSE)


def test_the_same_generator_draws_the_same_intervals():
    samples = np.random.default_rng(0).normal(size=(20, 10))
    first, second = (intervals.chosen(samples, [WIDE], np.random.default_rng(0)) for _ in range(2))
    np.testing.assert_array_equal(np.array(first), np.array(second))
