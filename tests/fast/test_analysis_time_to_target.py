import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paired_records import diverged, run

from compare.analysis.time_to_target import (
    BATCH,
    Arrivals,
    convergence,
    ecdf,
    expected_epochs,
    log_rank,
    median,
    races,
)

HITS = st.lists(st.integers(1, 50), max_size=20)


def arriving(hit, epochs=10):
    """A test accuracy that jumps above 0.8 at an epoch; never for None."""
    return [0.9 if hit is not None and epoch >= hit else 0.5 for epoch in range(1, epochs + 1)]


def group(hits, framework="keras"):
    return [run(framework, seed, curve=arriving(hit)) for seed, hit in enumerate(hits)]


def test_misses_are_censored_not_dropped():
    runs = [*group([2, 4, 6, None]), diverged(seed=9)]
    (found,) = convergence(runs, 0.8, {("mlp", "keras"): 0.5})
    assert (found.runs, found.arrived, found.diverged) == (4, 3, 1)
    assert (found.hit_rate, found.median) == (0.75, 5.0)
    assert found.expected_epochs == pytest.approx((2 + 4 + 6 + 10) / 3)
    assert found.median_seconds == 2.5
    assert found.expected_seconds == pytest.approx(found.expected_epochs / 2)
    assert found.ecdf == ((2, 0.25), (4, 0.5), (6, 0.75))
    assert found.hit_rate_low < 0.75 < found.hit_rate_high


def test_no_seconds_without_a_clock_and_no_median_where_half_never_arrive():
    (found,) = convergence(group([2, None]), 0.8)
    assert (found.median, found.median_seconds, found.expected_seconds) == (None, None, None)
    (never,) = convergence(group([None, None]), 0.8, {("mlp", "keras"): 1.0})
    assert (never.expected_epochs, never.expected_seconds, never.ecdf) == (None, None, ())
    (lost,) = convergence([diverged()], 0.8)
    assert (lost.runs, lost.hit_rate, lost.diverged) == (0, None, 1)
    for each in (found, never, lost):
        json.dumps(each.to_json(), allow_nan=False)


def test_a_run_censored_early_weighs_what_it_was_watched_for():
    early = Arrivals(epochs=(2, 8), missed=(4,), diverged=0)
    assert ecdf(early) == ((2, pytest.approx(1 / 3)), (8, 1.0))
    assert expected_epochs(early) == 7.0


@given(HITS, st.integers(0, 10))
def test_without_early_ends_the_curve_is_the_plain_share(epochs, misses):
    found = Arrivals(tuple(sorted(epochs)), (50,) * misses, 0)
    for epoch, share in ecdf(found):
        assert share == pytest.approx(sum(e <= epoch for e in epochs) / found.runs)
    everything = [*epochs, *[np.inf] * misses]
    middle = np.median(everything) if everything else np.inf
    assert median(found) == (middle if np.isfinite(middle) else None)


def test_the_race_pairs_seeds_and_counts_a_miss_as_last():
    records = [*group([2, 5, 5, None, None]), *group([1, 5, 6, 9, None], "torch")]
    (race,) = races(records, 0.8)
    assert (race.pairs, race.torch_first, race.keras_first) == (5, 2, 1)
    assert (race.together, race.neither) == (1, 1)
    assert race.sign_test == 1.0
    clear = [*group([9] * 8), *group([1] * 8, "torch")]
    (race,) = races(clear, 0.8)
    assert race.sign_test == pytest.approx(2 * 0.5**8)
    assert race.log_rank < 0.001
    (unpaired,) = races(clear, 0.8, paired=False)
    assert (unpaired.pairs, unpaired.sign_test) == (0, None)
    assert unpaired.log_rank == race.log_rank


def test_nothing_is_told_where_nothing_arrives_or_all_tie():
    (race,) = races([*group([None] * 4), *group([None] * 4, "torch")], 0.8)
    assert (race.sign_test, race.log_rank) == (None, None)
    (race,) = races([*group([3] * 4), *group([3] * 4, "torch")], 0.8)
    assert race.sign_test is None
    assert race.log_rank in (None, 1.0)
    assert races(group([3] * 4), 0.8) == []
    assert log_rank(Arrivals((), (), 2), Arrivals((3,), (), 0)) is None


def test_a_curve_that_some_runs_lack_leaves_them_out():
    batch = run("keras", 0, variant="mlp-bn-after")
    batch["history"]["batch_statistics_test_accuracy"] = arriving(2)
    (found,) = convergence([batch, *group([1])], 0.8, curve=BATCH)
    assert (found.variant, found.median) == ("mlp-bn-after", 2.0)
