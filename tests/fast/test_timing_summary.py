import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed_samples import PLAN, measurements, sample

from compare.timing.records import Point
from compare.timing.summary import (
    crossing,
    envelope,
    figures,
    interval,
    median_epochs,
    other_cores,
    ratios,
    steady_seconds,
)

SECONDS = st.floats(1e-3, 1e3)
PAIRS = st.lists(st.tuples(SECONDS, SECONDS), min_size=2, max_size=8)


def by_name(found):
    return {(f.framework, f.configuration): f for f in figures(PLAN, found)}


def test_the_first_epoch_is_not_steady():
    slow_start = sample("keras", "idiomatic", "idiomatic", 1, 0.5, first=100.0)
    assert steady_seconds(slow_start) == pytest.approx(0.5)


def test_figures_of_a_fit():
    keras = by_name(measurements())["keras", "idiomatic"]
    assert keras.repetitions == 3
    assert keras.epoch_seconds == pytest.approx(0.5)
    assert keras.steps_per_second == pytest.approx(16 / 0.5)
    assert (keras.first_step, keras.first_step_cold, keras.first_epoch) == (0.5, 0.5, 1.0)
    assert keras.epochs_to_target == 30
    assert keras.seconds_to_target == pytest.approx(0.5 + 30 * 0.5)
    assert (keras.import_seconds, keras.peak_rss_bytes) == (2.0, 2**29)


def test_overhead_is_above_the_faster_floor():
    found = by_name(measurements())
    assert found["keras", "idiomatic"].overhead == pytest.approx(0.9)
    assert found["torch", "idiomatic"].overhead == pytest.approx(0.9)
    assert found["keras", "floor (XLA)"].overhead is None


def test_a_target_that_most_seeds_miss_is_never_reached():
    torch = by_name(measurements())["torch", "idiomatic"]
    assert torch.epochs_to_target is None
    assert torch.seconds_to_target is None
    assert median_epochs(()) is None
    assert median_epochs((3, None, 4)) == 4


def test_ratios_pair_repetitions_and_leave_the_warm_up_out():
    found = {r.configuration: r for r in ratios(measurements(torch=(0.1, 0.5, 0.2)))}
    assert found["idiomatic"].estimate == pytest.approx(3.0)
    assert (found["idiomatic"].low, found["idiomatic"].high) == pytest.approx((1.0, 4.0))
    assert found["floor"].repetitions == 3


def test_time_on_the_clock_of_one_side_moves_the_ratio():
    before, after = (
        ratios(measurements(keras=keras))[0] for keras in ((0.4, 0.5, 0.6), (0.8, 1.0, 1.2))
    )
    assert after.estimate == pytest.approx(2 * before.estimate)
    assert after.low > before.high


def test_what_could_not_run_keeps_its_reason_and_enters_no_ratio():
    found = measurements()
    found.samples.append(sample("torch", "torch.compile", "tuned", 0, 1.0, error="no compiler"))
    figure = by_name(found)["torch", "torch.compile"]
    assert (figure.error, figure.epoch_seconds) == ("no compiler", None)
    assert {r.configuration for r in ratios(found)} == {"idiomatic", "floor"}


@given(PAIRS)
def test_the_interval_holds_the_estimate_and_lies_within_what_was_seen(pairs):
    keras, torch = np.array(pairs).T
    estimate, low, high = interval(keras, torch)
    ratio = keras / torch
    assert low <= estimate <= high
    assert ratio.min() * (1 - 1e-12) <= low <= high <= ratio.max() * (1 + 1e-12)


@given(PAIRS, st.floats(0.01, 100.0))
def test_the_interval_scales_with_one_side(pairs, factor):
    keras, torch = np.array(pairs).T
    scaled = interval(factor * keras, torch)
    assert scaled == pytest.approx(tuple(factor * v for v in interval(keras, torch)), rel=1e-9)


@given(PAIRS, st.randoms())
def test_the_estimate_is_free_of_order(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    first, second = (interval(*np.array(p).T)[0] for p in (pairs, shuffled))
    assert first == pytest.approx(second, rel=1e-12)


def test_five_repetitions_give_about_their_range():
    keras = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert interval(keras, np.ones(5)) == (3.0, 1.0, 5.0)


def test_arithmetic_begins_where_a_step_takes_twice_the_least():
    assert crossing({1: 1.0, 10: 1.0, 1000: 4.0}) == pytest.approx(100.0)
    assert crossing({1: 1.0, 10: 2.0}) == pytest.approx(10.0)
    assert crossing({1: 1.0, 10: 1.9}) is None


def test_the_faster_floor_is_the_curve():
    points = [Point("keras", c, "floor", "units", 50, s) for c, s in (("a", 2.0), ("b", 1.0))]
    assert envelope(points) == {("units", "keras", "floor"): {50: 1.0}}


def test_load_is_the_mean_over_timed_fits():
    found = [
        sample("keras", "idiomatic", "idiomatic", r, 1.0, other_cores=c)
        for r, c in ((0, 9.0), (1, 0.2), (2, 0.4))
    ]
    assert other_cores(found) == pytest.approx(0.3)
    assert other_cores(found[:1]) is None
