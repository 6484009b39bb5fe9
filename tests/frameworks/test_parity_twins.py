"""The ladder on our own variants. The bugs it must catch: `tests/bugs`."""

import json
import math
import shutil
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from in_process import Here
from test_cli import bn_compare

from compare.cli import app, main
from compare.conventions import CONVENTIONS
from compare.parity import command, tolerances
from compare.parity.command import save
from compare.parity.ladder import RUNGS
from compare.parity.twins import Side, check_pair, padded
from compare.spec import VARIANTS, Settings

SETTINGS = Settings(dtype="float64", epochs=2)
SWITCHES = {name: c.touches for name, c in CONVENTIONS.items() if c.switch}


class KerasOnce(Here):
    """Keras in this process, traced and trained once for all that is undone in Torch alone."""

    def __init__(self, done, root, dtype="float64"):
        super().__init__("keras", dtype)
        self.done, self.root = done, root

    def call(self, job, on_epoch=lambda epoch: None):
        run, settings, *folder = job.args
        if any(CONVENTIONS[name].side != "torch" for name in settings.undo):
            return super().call(job, on_epoch)
        key = job.func, run, replace(settings, undo=()), self.dtype
        if key not in self.done:
            kept = [self.root / str(len(self.done)) for _ in folder]
            once = partial(job.func, run, settings, *kept, **job.keywords)
            self.done[key] = super().call(once), kept
        found, kept = self.done[key]
        for place, there in zip(folder, kept, strict=True):
            shutil.copytree(there, place)
        return found


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Climbs with one pair of twins, both in this process."""
    done, root = {}, tmp_path_factory.mktemp("keras")

    def checked(variant, settings):
        dtypes = settings.dtype, "float64"
        sides = {
            "keras": Side(*(KerasOnce(done, root, dtype) for dtype in dtypes)),
            "torch": Side(*(Here("torch", dtype) for dtype in dtypes)),
        }
        return check_pair(variant, 0, settings, sides, lambda run, epoch, note: None)

    return checked


def test_every_side_tells_its_passes_layer_by_layer_and_its_epochs():
    notes = []
    settings = replace(SETTINGS, dtype="float32", epochs=1)
    sides = {name: Side(Here(name, "float32"), Here(name)) for name in ("keras", "torch")}
    check_pair("mlp", 0, settings, sides, lambda run, *told: notes.append((run.framework, *told)))
    places = [
        *("step 1 of 2", "training pass, hidden", "training pass, output"),
        *("backward pass, output", "backward pass, hidden", "step 2 of 2"),
        *("evaluation, hidden", "evaluation, output", "float32, epoch 1"),
    ]
    for side in ("keras", "torch"):
        told = [tuple(rest) for name, *rest in dict.fromkeys(notes) if name == side]
        assert told == [*((0, place) for place in places), (1, "")]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("variant", "dtype"),
    [
        *((variant, "float64") for variant in VARIANTS),
        *((variant, "float32") for variant in ("mlp", "mlp-bn-before", "cnn-bn", "lstm-bn")),
    ],
)
def test_exact_pairs_pass_every_rung(checked, variant, dtype):
    report = checked(variant, replace(SETTINGS, dtype=dtype))
    assert report.passed, report
    assert report.first_divergence is None
    assert [rung.rung for rung in report.rungs] == list(RUNGS)
    assert ("rounding, amplified" in report.note) is (dtype == "float32")
    assert all(len(curve) == 2 for curve in report.heat.values())
    statistics = report.rungs[7]
    assert (statistics.max_abs is not None) is VARIANTS[variant].has_batch_norm


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", SWITCHES)
def test_an_undone_convention_names_itself(checked, name):
    report = checked(SWITCHES[name][-1], replace(SETTINGS, undo=(name,)))
    assert not report.passed
    assert report.first_divergence.explained_by == (name,)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("variant", ["mlp-bn-after", "cnn-bn", "lstm-bn"])
def test_a_stock_port_first_differs_in_its_moving_statistics(checked, variant):
    first = checked(variant, replace(SETTINGS, alignment="stock")).first_divergence
    assert (first.rung, first.layer) == (8, "batch_norm")
    assert first.explained_by == ("bn-biased-variance",)


def test_in_float32_a_bug_is_told_from_rounding(checked):
    settings = replace(SETTINGS, dtype="float32", undo=("epoch-metrics",))
    report = checked("mlp", settings)
    assert report.first_divergence.rung == 10
    assert "a bug, not rounding" in report.note


def test_json_has_no_number_that_json_lacks(checked):
    settings = replace(SETTINGS, undo=("bn-affine",))
    values = checked("mlp-bn-no-affine", settings).to_json()
    text = json.dumps(values, allow_nan=False)
    assert values["passed"] is False
    assert values["first_divergence"]["explained_by"] == ("bn-affine",)
    assert "heat" not in text


def test_a_pair_that_diverges_is_saved_and_drawn(checked, tmp_path):
    settings = replace(SETTINGS, learning_rate=1e300)
    report = checked("mlp", settings)
    assert not report.passed
    save([report], settings, tmp_path)
    saved = json.loads((tmp_path / "parity.json").read_text(), parse_constant=pytest.fail)
    assert None in saved["heat"]["mlp, seed 0"]["output"]
    assert (tmp_path / "heat-map.png").stat().st_size > 1_000
    untrained = replace(report, heat=None)
    save([untrained], settings, tmp_path / "untrained")
    assert [p.name for p in (tmp_path / "untrained").iterdir()] == ["parity.json"]


def test_padding_keeps_batches_apart():
    plan = padded([[np.array([3, 1]), np.array([2])], [np.array([1, 2])]])
    assert plan.tolist() == [[[3, 1], [2, -1]], [[1, 2], [-1, -1]]]


def test_every_rung_has_a_tolerance():
    for dtype in ("float32", "float64"):
        found = tolerances.for_dtype(dtype)
        assert set(found) == set(RUNGS)
        assert all(math.isfinite(value) and 0 <= value < 1e-4 for value in found.values())
        assert [found[rung] for rung in (1, 2, 3)] == [0.0, 0.0, 0.0]


SMALL = ("parity", "--variants", "mlp-bn-after", "--epochs", "2")


@pytest.mark.slow
def test_the_command_line_saves_and_exits_with_the_verdict(tmp_path):
    good = bn_compare(*SMALL, "--json", "--out", tmp_path / "good")
    assert good.returncode == 0, good.stderr
    result = json.loads(good.stdout)
    assert result["passed"] is True
    assert [rung["rung"] for rung in result["pairs"][0]["rungs"]] == list(RUNGS)
    saved = json.loads((tmp_path / "good" / "parity.json").read_text())
    assert saved["pairs"] == result["pairs"]
    assert (tmp_path / "good" / "heat-map.png").stat().st_size > 5_000


class Process(Here):
    """A worker in this process."""

    def __init__(self, name, settings):
        super().__init__(name, settings.dtype)

    def ready(self):
        return {}

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass


def test_a_pair_that_differs_is_exit_1_and_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "Worker", Process)
    arguments = [*SMALL, "--alignment", "stock", "--out", str(tmp_path / "bad")]
    assert app(arguments, standalone_mode=False) == 1
    printed = capsys.readouterr().out
    assert "rung 8 (moving statistics, step 1), batch_norm" in printed
    assert "bn-biased-variance" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--undo", "bn-momentun"], "Did you mean 'bn-momentum'?"),
        (["--variants", "mpl"], "Did you mean 'mlp'?"),
        (["--dtype", "half"], "unknown dtype"),
        (["--epochs", "none"], "--epochs: expected"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bn-compare", "parity", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
