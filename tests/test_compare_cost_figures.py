import pytest

from compare.cost.figures import compared, extrapolated, of_seeds, own_share, side_by_side, steady

STAMPS = [3.0, 3.5, 4.0, 5.0, 5.25]
"""A slow first epoch, steady ones of 2/3 s in the mean, a quarter of a second at the end."""


def test_what_was_measured_is_its_own_extrapolation():
    assert extrapolated(STAMPS, 4) == pytest.approx(5.25)


def test_only_steady_epochs_are_multiplied():
    assert extrapolated(STAMPS, 100) == pytest.approx(3.0 + 99 * 2 / 3 + 0.25)
    assert extrapolated(STAMPS, 1) == pytest.approx(3.25)


def test_many_seeds_take_the_mean_of_the_few():
    runs = [STAMPS, [2 * stamp for stamp in STAMPS]]
    assert of_seeds(runs, epochs=4, seeds=10) == pytest.approx(10 * 1.5 * 5.25)


def test_side_by_side_the_slower_one_counts():
    assert side_by_side({"keras": 2.0, "torch": 3.0}) == 3.0


def test_a_steady_epoch_is_a_median_without_the_first():
    assert steady([10.0, 11.0, 12.0, 40.0]) == 1.0


def test_a_ratio_is_paired():
    found = compared([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert found == {"ratio": 2.0, "low": 2.0, "high": 2.0, "repetitions": 3}
    found = compared([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    assert (found["ratio"], found["low"], found["high"]) == (2.0, 1.0, 3.0)


def test_the_stamps_themselves_are_not_ours():
    rounds = [
        {"bare": 1.0, "around": 0.03, "nothing": 0.01},
        {"bare": 2.0, "around": 0.05, "nothing": 0.01},
        {"bare": 4.0, "around": 0.06, "nothing": 0.02},
    ]
    found = own_share(rounds)
    assert found["bare_seconds"] == 2.0
    assert found["own_seconds"] == pytest.approx(0.04)
    assert found["own_share"] == pytest.approx(0.02)
