"""What a run records; `test_variants.py` holds the two frameworks equal."""

import math
from dataclasses import replace

import numpy as np
import pytest

from compare.analysis.frames import weight_gap
from compare.spec import VARIANTS, Run, Settings
from compare.study.initial import batch_orders, initial_weights
from compare.study.train import execute

SETTINGS = Settings(dtype="float64", epochs=2)
METRICS = {
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "running_train_loss",
    "running_train_accuracy",
}


@pytest.mark.parametrize("variant", ["mlp", "mlp-bn-before"])
def test_a_record_holds_what_it_promises(framework, framework_name, variant):
    epochs = []
    outcome = execute(Run(variant, framework_name, 0), SETTINGS, framework, on_epoch=epochs.append)
    record = outcome.record
    extra = {"batch_statistics_test_accuracy"} if VARIANTS[variant].has_batch_norm else set()
    assert record["status"] == "ok"
    assert set(record["history"]) == set(record["final"]) == METRICS | extra
    assert all(len(curve) == 2 for curve in record["history"].values())
    assert epochs == [1, 2]
    assert len(record["epoch_seconds"]) == 2
    assert min(record["epoch_seconds"]) > 0
    assert Settings.from_dict(record["settings"]) == SETTINGS
    assert outcome.arrays["test_probability"].shape == (500,)
    assert (np.array(record["history"]["test_accuracy"]) * 500 % 1 == 0).all()


def test_running_accuracy_is_measured_before_each_update(framework, framework_name):
    """With a learning rate of almost zero, running and evaluated accuracy are the same."""
    settings = replace(SETTINGS, learning_rate=1e-12)
    final = execute(Run("mlp", framework_name, 0), settings, framework).record["final"]
    assert final["running_train_accuracy"] == final["train_accuracy"]
    assert final["running_train_loss"] == pytest.approx(final["train_loss"], abs=1e-9)


def test_a_run_that_diverges_says_so(framework, framework_name):
    settings = replace(SETTINGS, learning_rate=1e300)
    record = execute(Run("mlp", framework_name, 0), settings, framework).record
    assert record["status"] == "diverged"
    assert None in record["history"]["test_loss"]
    values = [v for curve in record["history"].values() for v in curve if v is not None]
    assert all(math.isfinite(value) for value in values)


def test_naive_runs_record_what_the_framework_drew(framework, framework_name):
    settings = replace(SETTINGS, alignment="naive")
    outcome = execute(Run("lstm-bn", framework_name, 0), settings, framework)
    orders = outcome.replay["orders"]
    assert orders.shape == (2, 500)
    assert not np.array_equal(orders, batch_orders(500, epochs=2, seed=0))
    assert [sorted(row) for row in orders.tolist()] == [list(range(500))] * 2
    initial = {k.removeprefix("initial/"): v for k, v in outcome.replay.items() if "/" in k}
    ours = initial_weights({k: v.shape for k, v in initial.items()}, seed=0)
    assert weight_gap(initial, ours) > 0.01
