from __future__ import annotations

import math

import numpy as np
import pytest
from report_folder import record, small_settings
from scipy import stats as scipy_stats

from compare.analysis.frames import Pair, band, gaps, matrix, mean_interval

SETTINGS = small_settings(seeds=3)


def test_the_band_is_students_interval_at_every_epoch() -> None:
    curves = np.random.default_rng(0).normal(size=(5, 4))
    found = band(curves)
    assert found is not None
    expected = scipy_stats.ttest_1samp(curves, 0.0, axis=0).confidence_interval(0.95)
    np.testing.assert_allclose(found.low, expected.low)
    np.testing.assert_allclose(found.high, expected.high)


def test_two_curves_have_a_mean_and_no_interval() -> None:
    found = band(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert found is not None
    assert found.mean.tolist() == [2.0, 3.0]
    assert np.isnan(found.low).all()
    assert band(np.empty((0, 0))) is None


def test_a_run_that_diverged_is_never_averaged() -> None:
    runs = [record(SETTINGS, "mlp", "keras", seed, diverged=seed == 1) for seed in range(3)]
    curves = matrix(runs, "test_loss")
    assert len(curves) == 2
    assert np.isfinite(curves).all()
    assert matrix(runs, "batch_statistics_test_accuracy").shape == (0, 0)


def test_gaps_are_lightning_minus_keras_of_the_same_seed() -> None:
    pairs = []
    for seed in range(3):
        keras, torch = (record(SETTINGS, "mlp", side, seed) for side in ("keras", "torch"))
        torch["history"]["test_loss"] = [v + seed for v in keras["history"]["test_loss"]]
        pairs.append(Pair(keras, torch))
    pairs[1].torch["status"] = "diverged"
    np.testing.assert_allclose(gaps(pairs, "test_loss"), [[0.0] * 6, [2.0] * 6])


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.6], [0.5, 0.5, 0.5]])
def test_no_interval_is_made_up(values: list[float]) -> None:
    assert mean_interval(values) is None


def test_the_interval_of_a_mean() -> None:
    low, high = mean_interval([0.1, 0.2, 0.3]) or (math.nan, math.nan)
    assert (low + high) / 2 == pytest.approx(0.2)
    assert high - low == pytest.approx(2 * 4.302653 * 0.1 / math.sqrt(3))
