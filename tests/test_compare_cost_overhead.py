"""What the clocks see: a clock that stands still but for what is made to cost."""

import numpy as np
import pytest
from standing_clock import Clock, slow_keras

import bn_keras.clocked
import bn_torch.clocked
from compare.cost.overhead import _around, _bare, _nothing, _planned
from compare.spec import Settings
from compare.study.runs import Run

SETTINGS = Settings(epochs=4, dtype="float64")
TWINS = {"keras": bn_keras.clocked, "torch": bn_torch.clocked}
STEPS = 16


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for twin in TWINS.values():
        monkeypatch.setattr(twin, "clock", clock)
    return clock


@pytest.fixture
def costly_steps(monkeypatch, clock):
    slow_keras(monkeypatch, clock, 0.002)
    step = bn_torch.clocked.BinaryClassifier.training_step
    monkeypatch.setattr(
        bn_torch.clocked.BinaryClassifier, "training_step", clock.costly(step, 0.002)
    )


def test_a_bare_epoch_is_its_steps(framework, framework_name, costly_steps):
    found = _bare(Run("mlp-bn-after", framework_name, 0), SETTINGS, framework)
    assert found["seconds"] == pytest.approx([STEPS * 0.002] * 2)


def test_neither_steps_nor_evaluation_are_ours(
    framework, framework_name, clock, costly_steps, monkeypatch
):
    evaluate = framework.predict_proba
    monkeypatch.setattr(framework, "predict_proba", clock.costly(evaluate, 0.5))
    run = Run("mlp-bn-after", framework_name, 0)
    for side in (_around, _nothing):
        assert side(run, SETTINGS, framework)["seconds"] == pytest.approx([0.0] * 3)


def test_what_our_callbacks_take_is_ours(framework, framework_name, clock, monkeypatch):
    if framework_name == "keras":
        begin = bn_keras.clocked.PlannedBatches._begin
        monkeypatch.setattr(bn_keras.clocked.PlannedBatches, "_begin", clock.costly(begin, 0.016))
    else:
        hook = bn_torch.clocked.Reporting.on_train_batch_end
        monkeypatch.setattr(
            bn_torch.clocked.Reporting, "on_train_batch_end", clock.costly(hook, 0.001)
        )
    run = Run("mlp-bn-after", framework_name, 0)
    assert _around(run, SETTINGS, framework)["seconds"] == pytest.approx([0.016] * 3)
    assert _nothing(run, SETTINGS, framework)["seconds"] == pytest.approx([0.0] * 3)


def test_a_bare_fit_trains_in_the_same_orders(framework, framework_name, monkeypatch):
    weights = []
    read = framework.time_planned

    def seen(handle, *args, **kwargs):
        found = read(handle, *args, **kwargs)
        weights.append(framework.read_weights(handle))
        return found

    monkeypatch.setattr(framework, "time_planned", seen)
    run = Run("mlp-bn-after", framework_name, 0)
    for judged in (None, True, False):
        _planned(run, SETTINGS, framework, judged=judged)
    for name, tensor in weights[0].items():
        assert all(np.array_equal(tensor, other[name]) for other in weights[1:]), name
