import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compare.parity.explain.float32 import float32_inside, misplacing
from compare.parity.ladder import (
    ANOTHER_FORM,
    EQUAL,
    RUNGS,
    Ladder,
    climb,
    outcome,
    structure,
    trajectory,
    unequal,
)
from compare.parity.tolerances import gap
from compare.trace import TraceWriter

STRICT = dict.fromkeys(RUNGS, 1e-12)
LAYERS = [
    {"name": "first", "kind": "dense", "tensors": {"kernel": [2, 2]}, "trained": 4},
    {"name": "second", "kind": "dense", "tensors": {"kernel": [2, 2]}, "trained": 4},
]


def arrays():
    """A made-up trace of two layers and two steps."""
    names = ["initial/first/kernel", "initial/second/kernel"]
    for step in (1, 2):
        names += [f"step/{step}/data/x", f"step/{step}/data/y", f"step/{step}/loss"]
        names += [f"step/{step}/weights/{layer}/kernel" for layer in ("first", "second")]
    for mode in ("training", "evaluation"):
        names += [f"{mode}/{la}/{end}" for la in ("first", "second") for end in ("input", "output")]
    names += [f"backward/{la}/{end}" for la in ("second", "first") for end in ("output", "input")]
    names += ["gradient/first/kernel", "gradient/second/kernel", "prediction"]
    rng = np.random.default_rng(0)
    return {name: rng.uniform(0.1, 1.0, (2, 2)) for name in names}


@pytest.fixture
def climbed(tmp_path):
    """Climb with a Torch side whose arrays `change` has changed; returns the ladder."""

    def go(change=lambda torch: None, layers=LAYERS):
        keras = torch = None
        sides = arrays(), arrays()
        change(sides[1])
        folders = [tmp_path / f"{len(list(tmp_path.iterdir()))}" for _ in "k"]
        for side, found in enumerate(sides):
            writer = TraceWriter(folders[0] / str(side))
            for name, array in found.items():
                writer(name, array)
            trace = writer.close(LAYERS if side == 0 else layers)
            keras, torch = (trace, torch) if side == 0 else (keras, trace)
        ladder = Ladder(STRICT)
        climb(ladder, keras, torch)
        return ladder

    return go


def off(*names):
    def change(torch):
        for name in names:
            torch[name] = torch[name] + 0.5

    return change


def blamed(ladder):
    check = ladder.first_failure()
    return None if check is None else (check.rung, check.layer, check.step)


def test_equal_traces_pass_all_nine_rungs(climbed):
    ladder = climbed()
    assert ladder.passed
    assert blamed(ladder) is None
    assert [result.rung for result in ladder.results()] == list(range(1, 10))
    assert all(result.passed for result in ladder.results())
    assert ladder.results()[7].required is None, "there is no batch normalization"


def test_an_empty_ladder_does_not_pass():
    assert not Ladder(STRICT).passed


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["step/2/data/y"], (2, "data", 2)),
        (["initial/second/kernel"], (3, "second", None)),
        (["training/first/input", "step/1/loss"], (4, "between the input and first", 1)),
        (["training/first/output", "training/second/input", "step/1/loss"], (4, "first", 1)),
        (
            ["training/second/input", "training/second/output", "prediction"],
            (4, "between first and second", 1),
        ),
        (["training/second/output", "gradient/first/kernel"], (4, "second", 1)),
        (["step/1/loss"], (5, "loss", 1)),
        (
            ["backward/second/output", "gradient/second/kernel"],
            (6, "between second and the loss", 1),
        ),
        (["gradient/second/kernel", "gradient/first/kernel"], (6, "second", 1)),
        (["backward/second/input", "gradient/first/kernel"], (6, "second", 1)),
        (["backward/first/output", "gradient/first/kernel"], (6, "between first and second", 1)),
        (["gradient/first/kernel"], (6, "first", 1)),
        (["step/1/weights/second/kernel"], (7, "second", 1)),
        (["step/1/weights/first/kernel", "step/1/weights/second/kernel"], (7, "optimizer", 1)),
        (["step/2/weights/first/kernel", "step/2/weights/second/kernel"], (7, "optimizer", 2)),
        (["evaluation/second/input", "prediction"], (9, "between first and second", None)),
        (["evaluation/second/output", "prediction"], (9, "second", None)),
        (["prediction"], (9, "output", None)),
        (["prediction", "training/second/output"], (4, "second", 1)),
    ],
)
def test_the_first_thing_that_differs_is_blamed(climbed, names, expected):
    ladder = climbed(off(*names))
    assert not ladder.passed
    assert blamed(ladder) == expected


@pytest.mark.parametrize("off_by", [0.5, math.inf])
@pytest.mark.parametrize(
    "names", [["training/first/output"], ["backward/second/output", "evaluation/second/input"]]
)
def test_what_differs_on_the_way_without_a_consequence_is_noted(climbed, names, off_by):
    ladder = climbed(lambda torch: torch.update({name: torch[name] + off_by for name in names}))
    assert ladder.passed
    assert len(ladder.notes) == len(names)
    assert all(note.endswith(ANOTHER_FORM) for note in ladder.notes)


def test_a_difference_on_the_way_that_is_no_larger_than_what_comes_of_it_is_none_of_form(climbed):
    def change(torch):
        torch["training/first/output"] = torch["training/first/output"] + 1e-12
        torch["prediction"] = torch["prediction"] + 8e-15

    assert blamed(climbed(change)) == (4, "first", 1)


def test_nan_never_passes(climbed):
    def change(torch):
        torch["training/second/output"][0, 0] = math.nan

    ladder = climbed(change)
    assert blamed(ladder) == (4, "second", 1)
    result = ladder.results()[3]
    assert not result.passed
    assert math.isnan(result.required)
    assert "nan" in result.where


@pytest.mark.parametrize(
    ("name", "rung"),
    [
        ("initial/first/kernel", 3),
        ("step/1/loss", 5),
        ("gradient/first/kernel", 6),
        ("step/2/weights/second/kernel", 7),
        ("prediction", 9),
    ],
)
def test_what_torch_lacks_fails(climbed, name, rung):
    ladder = climbed(lambda torch: torch.pop(name))
    assert ladder.first_failure().rung == rung
    assert "missing in Torch" in ladder.first_failure().gap.note


@pytest.mark.parametrize(
    ("name", "rung"),
    [
        ("initial/first/bias", 3),
        ("gradient/first/bias", 6),
        ("step/1/weights/first/bias", 7),
        ("step/1/statistics/first/moving_mean", 8),
    ],
)
def test_what_keras_lacks_fails(climbed, name, rung):
    ladder = climbed(lambda torch: torch.update({name: np.ones(2)}))
    assert blamed(ladder)[:2] == (rung, "first")
    assert ladder.first_failure().gap.note == "missing in Keras"


def test_a_trace_that_ends_with_an_error_is_blamed_where_it_ends(climbed):
    def change(torch):
        kept = ("initial/", "step/1/data/", "training/first/", "training/second/input")
        for name in [name for name in torch if not name.startswith(kept)]:
            del torch[name]
        torch["training/second/input"] = np.ones((2, 3))
        torch["error"] = np.array("RuntimeError: shapes cannot be multiplied")

    ladder = climbed(change)
    assert blamed(ladder) == (4, "between first and second", 1)
    failed = [check for check in ladder.checks if not check.passed]
    assert "shape (2, 2) in Keras, (2, 3) in Torch" in failed[0].gap.where()
    assert "RuntimeError: shapes" in failed[1].gap.where()


def test_gradients_on_the_way_that_one_side_lacks_are_not_compared(climbed):
    def change(torch):
        for name in [name for name in torch if name.startswith("backward/")]:
            del torch[name]

    assert climbed(change).passed


@pytest.mark.parametrize(
    ("layers", "layer"),
    [
        (LAYERS[:1], "second"),
        ([*LAYERS, {**LAYERS[0], "name": "third"}], "third"),
        ([{**LAYERS[0], "trained": 2}, LAYERS[1]], "first"),
        ([LAYERS[0], {**LAYERS[1], "tensors": {"kernel": [2, 3]}}], "second"),
        ([LAYERS[0], {**LAYERS[1], "kind": "conv"}], "second"),
    ],
)
def test_structure_names_the_layer(climbed, layers, layer):
    assert blamed(climbed(layers=layers)) == (1, layer, None)
    ladder = Ladder(STRICT)
    structure(ladder, LAYERS, layers)
    assert not ladder.passed


def test_the_lowest_rung_wins_whatever_the_order():
    ladder = Ladder(STRICT)
    for rung in (9, 4, 6):
        ladder.add(rung, "x", f"layer {rung}", unequal("differs"))
    assert ladder.first_failure().rung == 4


def test_a_rung_is_summed_up_by_its_worst_check():
    ladder = Ladder(STRICT, climbed=[4])
    for size in (1e-3, 2.0, 1e-6):
        ladder.add(4, f"off by {size}", "layer", gap(np.array([100.0]), np.array([100.0 + size])))
    (result,) = ladder.results()
    assert result.where.startswith("off by 2.0")
    assert result.required == pytest.approx(0.02)
    assert result.allowed == 1e-12


@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=5), st.floats(1e-9, 1e3))
def test_a_ladder_passes_with_any_tolerance_from_required_on(differences, tolerance):
    ladder = Ladder(dict.fromkeys(RUNGS, tolerance), climbed=[4])
    for difference in differences:
        ladder.add(4, "x", "layer", gap(np.zeros(1), np.array([difference])))
    assert ladder.passed == (ladder.results()[0].required <= tolerance)


EPOCHS = {
    "first/kernel": np.ones((3, 2, 2)),
    "norm/moving_mean": np.ones((3, 2)),
    "prediction/train_loss": np.ones(3),
    "running_train_loss": np.ones(3),
}


def later(*names, epoch=1):
    """The same epochs with something off from one epoch on, counted from 0."""
    found = {name: array.copy() for name, array in EPOCHS.items()}
    for name in names:
        found[name][epoch:] += 1.0
    return found


@pytest.mark.parametrize(
    ("names", "layer"),
    [
        (["first/kernel", "norm/moving_mean"], "every layer"),
        (["norm/moving_mean", "prediction/train_loss"], "norm"),
        (["prediction/train_loss"], "prediction"),
        (["running_train_loss"], "running_train_loss"),
    ],
)
def test_a_trajectory_blames_layers_before_what_is_made_of_them(names, layer):
    ladder = Ladder(STRICT)
    trajectory(ladder, EPOCHS, later(*names))
    assert blamed(ladder) == (10, layer, 2)


def test_a_trajectory_of_fewer_epochs_fails_where_it_ends():
    ladder = Ladder(STRICT)
    trajectory(ladder, EPOCHS, {name: array[:2] for name, array in EPOCHS.items()})
    assert blamed(ladder) == (10, "every layer", 3)


RESULT = {"probability": np.full(4, 0.5), "accuracy as a count": [1, 2, 3], "epochs": [None]}


def test_an_equal_outcome_passes():
    ladder = Ladder(STRICT)
    outcome(ladder, RESULT, RESULT)
    assert ladder.passed


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"probability": np.array([0.5, 0.5, 0.5, 0.6])}, None),
        ({"probability": np.array([0.5, 0.5, 0.5, math.nan])}, None),
        ({"accuracy as a count": [1, 5, 4]}, 2),
        ({"accuracy as a count": [1, 2]}, 3),
        ({"accuracy as a count": [1, 2, None]}, 3),
        ({"epochs": [3]}, 1),
    ],
)
def test_an_outcome_that_differs_fails_at_its_epoch(change, step):
    ladder = Ladder(STRICT)
    outcome(ladder, RESULT, {**RESULT, **change})
    assert blamed(ladder) == (11, "prediction", step)
    assert not ladder.passed


def test_equal_and_unequal():
    assert EQUAL.within(0.0)
    assert not unequal("differs").within(1e300)
    assert unequal("differs").where() == "differs"


def test_what_keras_does_not_return_is_no_matter_of_rounding():
    ladder = Ladder(STRICT)
    ladder.add(4, "step/1/prediction/1", "output", unequal("missing in Keras"), 1)
    assert float32_inside(ladder, [], {}, [], single=False) is None


@pytest.mark.parametrize(("way", "off"), [("bilinear", True), ("nearest", False)])
def test_places_are_rounded_where_a_resize_lies_between_pixels(way, off):
    resize = {"name": "up", "kind": "upsample", "settings": {"interpolation": way}}
    operations = [{"name": "a", "kind": ""}, resize, {"name": "b", "kind": ""}]
    assert (misplacing(operations, "between a and b", np.ones((2, 8, 8, 1))) > 0.0) == off
