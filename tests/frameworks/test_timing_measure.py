from dataclasses import replace

import pytest
from in_process import Here

import compare.backends.keras.timing
import compare.backends.torch.timing
from compare.errors import InputError
from compare.spec import Settings
from compare.timing.measure import _in_turn, measure_variant
from compare.timing.records import Measurements, Plan
from compare.timing.summary import ratios

SETTINGS = Settings(variants=("mlp",), epochs=3, dtype="float64")
FEW = ("idiomatic", "floor", "barebones", "validation")


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
    monkeypatch.setattr("compare.timing.measure.Worker", Process)
    monkeypatch.setattr(
        "compare.timing.measure.epochs_to_target",
        lambda workers, *_: dict.fromkeys(workers, (3, None, 4)),
    )


@pytest.mark.slow
def test_a_variant_is_timed_in_both_and_saved_after_every_repetition(here, monkeypatch):
    # Also what a tuned row is worth that cannot run: a line, and not the end.
    real = compare.backends.torch.timing._trainer_options

    def broken(configuration, scratch):
        if configuration == "barebones":
            raise OSError("not today")
        return real(configuration, scratch)

    monkeypatch.setattr(compare.backends.torch.timing, "_trainer_options", broken)
    for timing in (compare.backends.keras.timing, compare.backends.torch.timing):
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
