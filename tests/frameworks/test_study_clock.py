import gc

import numpy as np
import pytest
from standing_clock import Clock, slow_keras

import compare.backends.keras.timing
import compare.backends.torch.timing
from compare.spec import Run, Settings
from compare.study.train import time_once, timed

SETTINGS = Settings(variants=("mlp",), epochs=3, dtype="float64")
TWINS = {"keras": compare.backends.keras.timing, "torch": compare.backends.torch.timing}
NOT_IN_A_TEST = ("torch.compile",)
"""It calls a C++ compiler for half a minute."""

CONFIGURATIONS = [
    (framework, name)
    for framework, twin in TWINS.items()
    for name in twin.CONFIGURATIONS
    if name not in NOT_IN_A_TEST
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("framework", "configuration"), CONFIGURATIONS)
def test_every_configuration_is_timed(both, framework, configuration):
    run = Run("mlp-bn-after", framework, 0)
    found = time_once(run, SETTINGS, configuration, False, both[framework])
    assert len(found["epoch_ends"]) == 3
    assert (np.diff([0.0, *found["epoch_ends"]]) > 0).all()
    floor = TWINS[framework].CONFIGURATIONS[configuration] == "floor"
    assert (found["first_step"] is None) is floor
    assert floor or 0 < found["first_step"] <= found["epoch_ends"][0]
    assert found["peak"] > 2**20
    assert found["other_cores"] >= 0.0


@pytest.mark.parametrize(
    ("configuration", "jit"), [("idiomatic", "auto, False"), ("jit_compile=True", "True")]
)
def test_the_note_says_what_auto_became(both, configuration, jit):
    found = time_once(Run("mlp", "keras", 0), SETTINGS, configuration, False, both["keras"])
    assert found["note"] == f"jit_compile={jit}"


def test_what_lightning_logs_with_does_not_depend_on_what_is_installed(both):
    found = time_once(Run("mlp", "torch", 0), SETTINGS, "idiomatic", False, both["torch"])
    assert found["note"] == "logger=CSVLogger"


@pytest.mark.parametrize("keras_cost", [0.001, 0.004])
def test_every_step_is_on_the_clock_and_nothing_else(both, monkeypatch, keras_cost):
    clock = Clock()
    for twin in TWINS.values():
        monkeypatch.setattr(twin, "clock", clock)
    slow_keras(monkeypatch, clock, keras_cost)
    step = compare.backends.torch.timing.BinaryClassifier.training_step
    monkeypatch.setattr(
        compare.backends.torch.timing.BinaryClassifier, "training_step", clock.costly(step, 0.002)
    )
    ends = {}
    for name, adapter in both.items():
        clock.now = 0.0
        found = time_once(Run("mlp", name, 0), SETTINGS, "idiomatic", False, adapter)
        ends[name] = found["epoch_ends"]
    assert ends["torch"] == pytest.approx([0.032, 0.064, 0.096])
    assert ends["keras"] == pytest.approx([16 * keras_cost * n for n in (1, 2, 3)])


def test_no_garbage_is_collected_under_the_clock():
    assert timed(lambda: {"on": gc.isenabled()}, may_fail=False) == {"on": False}
    assert gc.isenabled()


def test_a_fit_that_may_fail_says_why():
    def fail():
        raise OSError("no compiler found\nand a long trace")

    assert timed(fail, may_fail=True) == {"error": "OSError: no compiler found"}
    with pytest.raises(OSError, match="no compiler"):
        timed(fail, may_fail=False)
    assert gc.isenabled()
