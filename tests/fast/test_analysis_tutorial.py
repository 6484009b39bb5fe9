import math

import pytest
from report_folder import record

from compare.analysis.frames import REPORTED, lines
from compare.report.tables import tutorial_cells
from compare.spec import Settings

SETTINGS = Settings(seeds=2)


def run(variant, framework, seed, *, train, test):
    made = record(SETTINGS, variant, framework, seed)
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
