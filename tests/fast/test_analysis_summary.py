import numpy as np
import pytest

from compare.analysis import frames
from compare.analysis import frames as stats
from compare.analysis.frames import pairs


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
    (row,) = stats.rows([*records])
    assert row.test_accuracy_mean == pytest.approx(0.85)
    assert row.test_accuracy_std == pytest.approx(0.0707107, rel=1e-5)
    assert row.epochs_to_target_median == 4
    assert row.epoch_seconds_median == 2.0


def test_a_run_that_never_arrives_counts_as_infinite():
    runs = [record(seed=s, hit=h) for s, h in enumerate([3, None, None])]
    (row,) = stats.rows(runs)
    assert row.epochs_to_target_median is None
    assert row.reached_target == 1
    (row,) = stats.rows(runs[:1])
    assert row.epochs_to_target_median == 3


def test_diverged_runs_are_counted_and_not_averaged():
    runs = [record(), record(seed=1, accuracy=None, status="diverged", hit=None)]
    (row,) = stats.rows(runs)
    assert (row.seeds, row.diverged, row.test_accuracy_mean) == (2, 1, 0.8)
    (row,) = stats.rows(runs[1:])
    assert (row.seeds, row.diverged, row.test_accuracy_mean) == (1, 1, None)


def test_pairs_share_variant_and_seed():
    runs = [record(seed=0), record(framework="torch", seed=0), record(seed=1)]
    (pair,) = pairs(runs)
    assert (pair.variant, pair.seed) == ("mlp", 0)
    assert pair.torch["framework"] == "torch"


def test_largest_difference_looks_at_every_element():
    a = np.zeros((3, 4))
    b = a.copy()
    b[2, 1] = 1e-9
    assert frames.largest_difference([a, a], [a, b]) == 1e-9
    assert np.isnan(frames.largest_difference([a], [a[:2]]))
    b[0, 0] = np.nan
    assert np.isnan(frames.largest_difference([a, b], [a, b]))
    with pytest.raises(ValueError, match="zip"):
        frames.largest_difference([a], [a, a])


def test_weight_gap_wants_the_same_names():
    a = {"hidden/kernel": np.ones(2), "test_probability": np.ones(3)}
    assert frames.weight_gap(a, {"hidden/kernel": np.ones(2)}) == 0.0
    assert np.isnan(frames.weight_gap(a, {"hidden/bias": np.ones(2)}))
