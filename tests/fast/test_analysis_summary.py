import math

import numpy as np
import pytest
from report_folder import record as made_up
from report_folder import small_settings
from scipy import stats as scipy_stats

from compare.analysis.frames import Pair
from compare.analysis.summary import (
    REPORTED,
    band,
    epoch_seconds,
    gaps,
    lines,
    matrix,
    mean_interval,
    rows,
)
from compare.report.figures import seconds
from compare.report.tables import tutorial_cells
from compare.spec import Settings

SETTINGS, SMALL = Settings(seeds=2), small_settings(seeds=3)


def record(variant="mlp", framework="keras", seed=0, accuracy=0.8, hit=3, status="ok"):
    return {
        "variant": variant,
        "framework": framework,
        "seed": seed,
        "alignment": "exact",
        "status": status,
        "final": {"train_accuracy": accuracy, "test_accuracy": accuracy},
        "epochs_to_target": hit,
        "epoch_seconds": [1.0, 2.0, 9.0],
    }


def test_rows_summarize_each_variant_and_framework():
    records = [record(seed=0, accuracy=0.8), record(seed=1, accuracy=0.9, hit=5)]
    (row,) = rows(records)
    assert row.test_accuracy_mean == pytest.approx(0.85)
    assert row.test_accuracy_std == pytest.approx(0.0707107, rel=1e-5)
    assert row.epochs_to_target_median == 4
    assert row.epoch_seconds_median == 2.0


def test_a_run_that_never_arrives_counts_as_infinite():
    runs = [record(seed=s, hit=h) for s, h in enumerate([3, None, None])]
    (row,) = rows(runs)
    assert row.epochs_to_target_median is None
    assert row.reached_target == 1
    (row,) = rows(runs[:1])
    assert row.epochs_to_target_median == 3


def test_diverged_runs_are_counted_and_not_averaged():
    runs = [record(), record(seed=1, accuracy=None, status="diverged", hit=None)]
    (row,) = rows(runs)
    assert (row.seeds, row.diverged, row.test_accuracy_mean) == (2, 1, 0.8)
    (row,) = rows(runs[1:])
    assert (row.seeds, row.diverged, row.test_accuracy_mean) == (1, 1, None)


def fit(framework, *took):
    return {"variant": "mlp", "framework": framework, "epoch_seconds": list(took) or None}


def test_median_and_most_epochs_over_all_fits():
    (found,) = epoch_seconds([fit("keras", 1.0, 2.0), fit("keras", 3.0), fit("keras")])
    assert (found.fits, found.epochs, found.median) == (2, 3, 2.0)
    assert (found.low, found.high) == (pytest.approx(1.1), pytest.approx(2.9))


def test_nothing_timed_is_nothing():
    assert epoch_seconds([fit("keras")]) == []


def test_every_framework_has_a_dot_at_its_median():
    axes = seconds(epoch_seconds([fit("keras", 0.2), fit("torch", 0.1)])).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == [0.2, 0.1]


def test_the_band_is_students_interval_at_every_epoch():
    curves = np.random.default_rng(0).normal(size=(5, 4))
    found = band(curves)
    assert found is not None
    expected = scipy_stats.ttest_1samp(curves, 0.0, axis=0).confidence_interval(0.95)
    np.testing.assert_allclose(found.low, expected.low)
    np.testing.assert_allclose(found.high, expected.high)


def test_two_curves_have_a_mean_and_no_interval():
    found = band(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert found is not None
    assert found.mean.tolist() == [2.0, 3.0]
    assert np.isnan(found.low).all()
    assert band(np.empty((0, 0))) is None


def test_a_run_that_diverged_is_never_averaged():
    runs = [made_up(SMALL, "mlp", "keras", seed, diverged=seed == 1) for seed in range(3)]
    curves = matrix(runs, "test_loss")
    assert len(curves) == 2
    assert np.isfinite(curves).all()
    assert matrix(runs, "batch_statistics_test_accuracy").shape == (0, 0)


def test_gaps_are_lightning_minus_keras_of_the_same_seed():
    pairs = []
    for seed in range(3):
        keras, torch = (made_up(SMALL, "mlp", side, seed) for side in ("keras", "torch"))
        torch["history"]["test_loss"] = [v + seed for v in keras["history"]["test_loss"]]
        pairs.append(Pair(keras, torch))
    pairs[1].torch["status"] = "diverged"
    np.testing.assert_allclose(gaps(pairs, "test_loss"), [[0.0] * 6, [2.0] * 6])


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.6], [0.5, 0.5, 0.5]])
def test_no_interval_is_made_up(values):
    assert mean_interval(values) is None


def test_the_interval_of_a_mean():
    low, high = mean_interval([0.1, 0.2, 0.3]) or (math.nan, math.nan)
    assert (low + high) / 2 == pytest.approx(0.2)
    assert high - low == pytest.approx(2 * 4.302653 * 0.1 / math.sqrt(3))


def run(variant, framework, seed, *, train, test):
    made = made_up(SETTINGS, variant, framework, seed)
    made["final"] |= {"train_accuracy": train, "test_accuracy": test}
    return made


def test_the_range_of_the_seeds_beside_what_the_tutorial_prints():
    runs = [
        run("mlp", "keras", 0, train=0.830, test=0.820),
        run("mlp", "keras", 1, train=0.840, test=0.845),
        run("cnn", "keras", 0, train=0.840, test=0.845),
    ]
    train, test = lines(runs, SETTINGS)
    assert (train.variant, train.framework, train.half, train.seeds) == ("mlp", "keras", "train", 2)
    assert (train.reported, train.low, train.high, train.within) == (0.838, 0.83, 0.84, True)
    assert (test.reported, test.high, test.within) == (0.846, 0.845, False)
    assert tutorial_cells([train, test]) == [
        ["mlp", "train", "0.838", "0.830 to 0.840", "–", "within"],
        ["mlp", "test", "0.846", "0.820 to 0.845", "–", "outside"],
    ]


def test_both_sides_must_hold_it():
    runs = [
        run("mlp", "keras", 0, train=0.838, test=0.846),
        run("mlp", "torch", 0, train=0.838, test=0.9),
    ]
    assert [cells[-1] for cells in tutorial_cells(lines(runs, SETTINGS))] == ["within", "outside"]


def test_runs_that_diverged_are_left_out():
    gone = run("mlp", "keras", 0, train=math.nan, test=math.nan) | {"status": "diverged"}
    assert lines([gone], SETTINGS) == []


@pytest.mark.parametrize("changed", [{"epochs": 50}, {"learning_rate": 0.1}, {"data_seed": 2}])
def test_another_training_is_not_compared(changed):
    runs = [run("mlp", "keras", 0, train=0.838, test=0.846)]
    assert lines(runs, Settings(**changed)) == []


def test_it_is_known_for_the_tutorials_three_networks():
    assert list(REPORTED) == ["mlp", "mlp-bn-after", "mlp-bn-before"]
    assert lines([], SETTINGS) == []
