import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from compare.analysis import intervals
from compare.analysis.intervals import STUDENT, STUDENTIZED

METHODS = {STUDENT: intervals.student, STUDENTIZED: intervals.studentized, "BCa": intervals.bca}
SAMPLE = np.array([0.3, -0.1, 0.4, 0.2, 0.9, -0.3, 0.5, 0.1, 0.2, 0.7])


def one(method, sample=SAMPLE, level=0.95, seed=0):
    ((low, high),) = method(np.asarray(sample)[None], [level], np.random.default_rng(seed))
    return low[0], high[0]


def test_student_is_scipys():
    wanted = scipy_stats.ttest_1samp(SAMPLE, 0.0).confidence_interval(0.95)
    assert one(intervals.student) == pytest.approx((wanted.low, wanted.high))


def test_the_studentized_bootstrap_agrees_with_resampling_in_a_loop():
    rng = np.random.default_rng(7)
    mean, error = SAMPLE.mean(), scipy_stats.sem(SAMPLE)
    draws = rng.choice(SAMPLE, (20_000, len(SAMPLE)))
    ratios = (draws.mean(axis=1) - mean) / scipy_stats.sem(draws, axis=1)
    low, high = mean - np.quantile(ratios, [0.975, 0.025]) * error
    assert one(intervals.studentized) == pytest.approx((low, high), abs=0.05)


@pytest.mark.parametrize("name", METHODS)
def test_a_higher_level_is_wider_and_the_generator_alone_decides(name):
    method = METHODS[name]
    narrow, wide = one(method, level=0.9), one(method, level=0.99)
    assert wide[0] < narrow[0] < SAMPLE.mean() < narrow[1] < wide[1]
    assert one(method) == one(method)
    assert (one(method) == one(method, seed=1)) is (name == STUDENT)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=10, max_size=30, unique=True),
    st.floats(0.1, 10.0),
    st.floats(-5.0, 5.0),
)
def test_intervals_move_and_stretch_with_the_data(values, factor, offset):
    sample = np.array(values)
    for name in (STUDENT, STUDENTIZED):
        ends = np.array(one(METHODS[name], sample))
        moved = np.array(one(METHODS[name], factor * sample + offset))
        assert moved == pytest.approx(factor * ends + offset, abs=1e-6)


def test_rows_do_not_know_of_each_other():
    rows = np.stack([SAMPLE, SAMPLE * 0.0, SAMPLE + 1.0])
    for method in (intervals.student, intervals.chosen):
        ((low, _),) = method(rows, [0.95], np.random.default_rng(0))
        assert low[2] == pytest.approx(low[0] + 1.0)
        assert low[1] == 0.0


def test_few_or_many_zeros_take_students_t():
    sparse = np.where(np.arange(10) < 2, 0.0, SAMPLE)
    assert intervals.chosen_method(SAMPLE) == STUDENTIZED
    assert one(intervals.chosen) == one(intervals.studentized)
    for sample in (sparse, SAMPLE[:7]):
        assert intervals.chosen_method(sample) == STUDENT
        assert one(intervals.chosen, sample) == one(intervals.student, sample)


def test_bca_of_equal_values_is_not_a_number():
    with pytest.warns(scipy_stats.DegenerateDataWarning):
        assert np.isnan(one(intervals.bca, np.ones(9))).all()
    low, high = one(intervals.bca)
    assert low < SAMPLE.mean() < high


def test_unpaired_intervals():
    other = SAMPLE * 2.0 - 1.0
    ((low, high),) = intervals.welch(SAMPLE, other, [0.95])
    wanted = scipy_stats.ttest_ind(SAMPLE, other, equal_var=False).confidence_interval(0.95)
    assert (low.tolist(), high.tolist()) == ([wanted.low], [wanted.high])
    boot = intervals.unpaired_bootstrap(SAMPLE, other, 0.95, np.random.default_rng(0))
    middle = SAMPLE.mean() - other.mean()
    assert low < middle < high
    assert boot.low == pytest.approx(low[0], abs=0.1)
    assert boot.high == pytest.approx(high[0], abs=0.1)


def test_a_share_has_exact_ends():
    assert (intervals.share(0, 10).low, intervals.share(10, 10).high) == (0.0, 1.0)
    assert intervals.share(0, 10).high == pytest.approx(1 - 0.025 ** (1 / 10))


def test_refusals_say_why():
    assert "fewer than 3 pairs" in intervals.refusal(2, 2)
    assert "fewer than 3 distinct" in intervals.refusal(10, 2)
    assert intervals.refusal(3, 3) is None
    assert intervals.distinct(
        np.array([[0.814 - 0.812, 0.802 - 0.8, 0.0], [1, 2, 3]])
    ).tolist() == [
        2,
        3,
    ]
