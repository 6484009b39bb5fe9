import json
import subprocess
import sys

import numpy as np
import pytest

from compare.statistics import intervals
from compare.trials import selftest_statistics
from compare.trials.populations import Population, populations
from compare.trials.power import SHIFT, power
from compare.trials.simulation import trial, trials

NORMAL = Population("normal", np.random.default_rng(1).normal(0.3, 1.0, 50_000))


def narrower(factor):
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


def tried(method, population=NORMAL, n=10, simulations=2000):
    rng = np.random.default_rng(0)
    return trial(population, n, rng, simulations=simulations, method=method, others={})


def unseeded(differences, levels, rng):
    """Intervals whose draws nobody can repeat."""
    return intervals.studentized(differences, levels, np.random.default_rng())


@pytest.mark.parametrize("n", [10, 30])
def test_the_chosen_interval_keeps_the_bounds(n):
    result = tried(intervals.chosen, n=n)
    assert result.passed
    assert result.elsewhere == ""
    assert result.refused == 0.0
    assert result.coverage == pytest.approx(0.95, abs=0.015)
    assert result.false_different == pytest.approx(1.0 - result.coverage)
    assert 0.03 < result.false_equivalent < 0.06


@pytest.mark.parametrize(
    "method", [narrower(0.8), narrower(1.3), around_zero, intervals.bca, unseeded]
)
def test_a_wrong_interval_fails(method):
    result = tried(method)
    assert not result.passed
    assert result.reproducible is (method is not unseeded)


def test_a_too_narrow_interval_makes_false_equivalences():
    # The equivalence has to hold by Student's t as well: a narrow interval alone makes none.
    assert tried(narrower(0.5)).false_equivalent == pytest.approx(0.05, abs=0.015)
    assert tried(narrower(0.5)).false_different > 0.2


def test_margins_lie_around_the_truth_not_around_zero():
    far = Population("far", NORMAL.differences + 100.0)
    assert tried(intervals.student, far).coverage == pytest.approx(
        tried(intervals.student).coverage
    )


def test_where_bounds_are_not_asked_for_a_reason_is_given():
    zeros = Population("zeros", np.where(np.arange(1000) < 900, 0.0, 1.0 + np.arange(1000)))
    result = tried(intervals.chosen, zeros)
    assert result.passed
    assert "mostly exact zeros" in result.elsewhere
    assert result.refused > 0.5
    skewed = Population("skewed", np.random.default_rng(0).exponential(size=1000))
    assert "skewed" in tried(intervals.chosen, skewed, simulations=50).elsewhere
    alike = tried(intervals.chosen, Population("alike", np.zeros(10)), simulations=50)
    assert (alike.refused, alike.coverage, alike.false_different) == (1.0, None, 0.0)


def test_the_populations_are_what_they_say():
    found = {population.name: population for population in populations()}
    assert len(found) == 11
    real = found["mlp-bn-after − mlp"]
    assert len(real.differences) == 1000
    assert 0.8 < real.sides[0].mean() < 0.9
    assert found["skewness 2"].skewness == pytest.approx(2.0, abs=0.15)
    assert found["90 % zeros"].nonzero == pytest.approx(0.1, abs=0.02)
    assert found["mlp-bn-after, Torch − Keras"].nonzero < 0.05
    for population in found.values():
        grid = population.differences / 0.002
        assert np.abs(grid - np.round(grid)).max() < 1e-6
    assert sum(not population.elsewhere for population in found.values()) == 6


def test_pairs_that_go_together_need_fewer_seeds():
    shared = np.random.default_rng(2).normal(0.8, 0.01, 2000)
    noise = np.random.default_rng(3).normal(0.0, 0.003, (2, 2000))
    rng = np.random.default_rng(4)

    def seeds(first, second):
        population = Population("made up", first - second, (first, second))
        found = power(population, rng, simulations=400)
        assert found.curve[100][0] >= found.curve[5][0]
        return found.paired, found.unpaired

    paired, unpaired = seeds(shared + noise[0], shared + noise[1])
    # By the usual formula: 16 sd² / SHIFT² / 2 seeds, and a few more for Student's t.
    assert unpaired == pytest.approx(16 * 0.0104**2 / SHIFT**2, rel=0.2)
    assert paired < 0.3 * unpaired
    paired, unpaired = seeds(shared, np.random.default_rng(5).permutation(shared))
    assert paired == pytest.approx(unpaired, rel=0.25)


def test_the_same_generator_draws_the_same_trials():
    def twice(seed):
        rng = np.random.default_rng(seed)
        return [t.to_json() for t in trials([NORMAL], rng, simulations=200)]

    assert twice(1) == twice(1)
    assert twice(1) != twice(2)


@pytest.fixture
def two_populations(monkeypatch):
    chosen = [p for p in populations() if p.name in ("mlp-bn-after − mlp", "90 % zeros")]
    monkeypatch.setattr(selftest_statistics, "populations", lambda: chosen)


def test_the_command_exits_with_1_when_a_bound_is_broken(two_populations, capsys):
    assert selftest_statistics.run(as_json=False, simulations=2000) == 0
    shown = capsys.readouterr()
    assert "4 of 4" not in shown.out
    assert "2 of 2 within bounds" in shown.out
    assert "90 % zeros: mostly exact zeros" in shown.out
    assert "[5/5] power" in shown.err
    assert selftest_statistics.run(as_json=False, simulations=2000, method=narrower(0.8)) == 1
    assert "BROKEN" in capsys.readouterr().out


def test_the_commands_json_stands_alone(two_populations, capsys):
    selftest_statistics.run(as_json=True, simulations=200)
    content = json.loads(capsys.readouterr().out)
    assert len(content["trials"]) == 4
    assert len(content["power"]) == 1
    assert content["power"][0]["paired"] <= content["power"][0]["unpaired"] + 5
    assert selftest_statistics.show([], [], as_json=True) == 1


def test_the_command_line_refuses_bugs_and_statistics_together():
    done = subprocess.run(
        [sys.executable, "-m", "compare", "selftest", "--statistics", "--quick"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "bn-compare: error: --statistics injects no bugs: leave out --quick and --only.\n"
    )
