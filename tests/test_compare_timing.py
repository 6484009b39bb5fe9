import gc
from dataclasses import replace

import numpy as np
import pytest
from in_process import Here

import bn_keras.timing
import bn_torch.timing
from compare.errors import InputError
from compare.runs import Run
from compare.samples import Measurements, Plan
from compare.spec import Settings
from compare.timing import _in_turn, measure_variant, time_once, timed
from compare.timing_summary import ratios

SETTINGS = Settings(variants=("mlp",), epochs=3, dtype="float64")
TWINS = {"keras": bn_keras.timing, "torch": bn_torch.timing}
NOT_IN_A_TEST = ("torch.compile",)
"""It calls a C++ compiler for half a minute."""

FEW = ("idiomatic", "floor", "barebones", "validation")

CONFIGURATIONS = [
    (framework, name)
    for framework, twin in TWINS.items()
    for name in twin.CONFIGURATIONS
    if name not in NOT_IN_A_TEST
]


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


class Clock:
    """Stands still, but for what steps are made to cost."""

    now = 0.0

    def __call__(self):
        return self.now

    def costly(self, function, seconds):
        def slowed(*args, **kwargs):
            self.now += seconds
            return function(*args, **kwargs)

        return slowed


def slow_keras(monkeypatch, clock, seconds):
    make = bn_keras.timing.keras.Model.make_train_function

    def slowed(model, *args, **kwargs):
        made = make(model, *args, **kwargs)
        model.train_function = clock.costly(model.train_function, seconds)
        return made

    monkeypatch.setattr(bn_keras.timing.keras.Model, "make_train_function", slowed)


@pytest.mark.parametrize("keras_cost", [0.001, 0.004])
def test_every_step_is_on_the_clock_and_nothing_else(both, monkeypatch, keras_cost):
    clock = Clock()
    for twin in TWINS.values():
        monkeypatch.setattr(twin, "clock", clock)
    slow_keras(monkeypatch, clock, keras_cost)
    step = bn_torch.timing.BinaryClassifier.training_step
    monkeypatch.setattr(
        bn_torch.timing.BinaryClassifier, "training_step", clock.costly(step, 0.002)
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


def test_who_begins_alternates():
    work = {"keras": [("a", "x"), ("b", "x"), ("c", "x")], "torch": [("d", "x")]}
    turns = [[f"{n}:{c}" for n, (c, _) in _in_turn(work, r)] for r in (1, 2)]
    assert turns[0] == ["keras:a", "torch:d", "keras:b", "keras:c"]
    assert turns[1] == ["torch:d", "keras:a", "keras:b", "keras:c"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetitions": 1}, "--repetitions"),
        ({"repetitions": "many"}, "'many'"),
        ({"patience": -1.0}, "--patience"),
        ({"accelerator": "tpu"}, "unknown accelerator 'tpu'"),
        ({"settings": Settings(epochs=1)}, "--epochs"),
    ],
)
def test_a_plan_refuses_what_cannot_be_timed(options, message):
    with pytest.raises(InputError, match=message):
        Plan(**{"settings": SETTINGS, **options})


class Process(Here):
    """A worker in this process, whose training to the target is left out."""

    import_seconds = 1.0

    def __init__(self, name, settings, accelerator="cpu"):
        super().__init__(name)
        self.name = name

    def ready(self):
        return {"accelerator": "cpu"}

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr("compare.timing.Worker", Process)
    monkeypatch.setattr(
        "compare.timing.epochs_to_target", lambda workers, *_: dict.fromkeys(workers, (3, None, 4))
    )


def test_a_variant_is_timed_in_both_and_saved_after_every_repetition(here, monkeypatch):
    # Also what a tuned row is worth that cannot run: a line, and not the end.
    real = bn_torch.timing._trainer_options

    def broken(configuration, scratch):
        if configuration == "barebones":
            raise OSError("not today")
        return real(configuration, scratch)

    monkeypatch.setattr(bn_torch.timing, "_trainer_options", broken)
    for timing in (bn_keras.timing, bn_torch.timing):
        few = {k: v for k, v in timing.CONFIGURATIONS.items() if k in FEW}
        monkeypatch.setattr(timing, "CONFIGURATIONS", few)
    settings = replace(SETTINGS, epochs=2)
    plan = Plan(settings=settings, repetitions=2, tuned=True, patience=0)
    found, saved = Measurements(), []
    measure_variant(
        "mlp", plan, found, save=lambda: saved.append(len(found.samples)), say=lambda text: None
    )
    assert saved == [6, 11, 16, 16]
    failed = [s for s in found.samples if s.error is not None]
    assert [(s.configuration, s.error) for s in failed] == [("barebones", "OSError: not today")]
    assert [p.epochs_to_target for p in found.processes] == [(3, None, 4)] * 2
    assert {"idiomatic", "validation"} <= {r.configuration for r in ratios(found)}
    assert {"floor"} == {s.configuration for s in found.samples if s.kind == "floor"}


def test_a_gpu_that_is_not_there_is_refused(here):
    plan = Plan(settings=SETTINGS, accelerator="gpu")
    with pytest.raises(InputError, match="expected a GPU that keras can use, found none"):
        measure_variant("mlp", plan, Measurements(), save=print, say=print)
