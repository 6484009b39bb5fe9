"""The catalogue: complete, every switch does what it says, and every demonstration shows it."""

import json
import math
import re
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from test_cli import bn_compare
from tolerances import DEMONSTRATION, THREE_EPOCHS

from compare.analysis.frames import largest_difference
from compare.backends.loading import load
from compare.cli import main
from compare.conventions import CONVENTIONS
from compare.errors import InputError
from compare.parity import ablation
from compare.parity.ablation import Job
from compare.spec import FRAMEWORKS, VARIANTS, Run, Settings
from compare.study.train import execute

SETTINGS = Settings(dtype="float64", epochs=2, n_samples=200)
SWITCHES = [name for name, convention in CONVENTIONS.items() if convention.switch]
DEMONSTRATED = [name for name in CONVENTIONS if name not in SWITCHES]


@cache
def end(variant, framework, undone=None):
    settings = replace(SETTINGS, undo=(undone,) if undone else ())
    return execute(Run(variant, framework, 0), settings, load(framework))


@pytest.mark.parametrize("name", CONVENTIONS)
def test_an_entry_is_complete(name):
    convention = CONVENTIONS[name]
    assert convention.name == name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    for field in ("keras", "torch", "to_torch", "to_keras", "source"):
        text = getattr(convention, field)
        assert text == text.strip() != ""
        assert text.isprintable()
    assert set(convention.touches) <= set(VARIANTS)
    assert convention.switch is bool(convention.touches)
    assert convention.side in (*FRAMEWORKS, "both")


def test_every_entry_can_be_measured_in_one_way(both):
    for adapter in both.values():
        assert sorted(adapter.DEMONSTRATIONS) == sorted(DEMONSTRATED)


def test_a_demonstration_cannot_be_undone():
    with pytest.raises(InputError, match=r"'adam-epsilon' cannot be undone.*--measure adam"):
        Settings(undo=("adam-epsilon",))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_shows_where_it_says_and_nowhere_else(name):
    convention = CONVENTIONS[name]
    # Keras compiles every model anew: a baseline and a network of another family are enough.
    variants = ("mlp", "lstm-bn") if convention.side == "keras" else VARIANTS
    side = "keras" if convention.side == "keras" else "torch"
    for variant in variants:
        found = ablation.effect(name, variant, end(variant, side), end(variant, side, name))
        gaps = [
            found.predictions,
            found.trained_weights,
            found.moving_statistics or 0.0,
            found.training_loss,
        ]
        if variant in convention.touches:
            assert max(gaps) > 1e-10, variant
        else:
            assert gaps == [0.0] * 4, variant


def test_what_statistics_alone_see():
    """Each of these leaves every trained weight and the training loss alone, to the bit."""
    for name in ("bn-momentum", "bn-momentum-copied", "bn-biased-variance", "eval-mode"):
        for variant in ("mlp-bn-after", "lstm-bn"):
            clean, undone = end(variant, "torch"), end(variant, "torch", name)
            found = ablation.effect(name, variant, clean, undone)
            assert (found.trained_weights, found.training_loss) == (0.0, 0.0)
            assert found.moving_statistics > 0.0


def test_a_scale_that_one_side_lacks_counts_as_one():
    variant = "mlp-bn-no-affine"
    clean, undone = end(variant, "torch"), end(variant, "torch", "bn-affine")
    gamma = undone.arrays["batch_norm/gamma"]
    assert "batch_norm/gamma" not in clean.arrays
    found = ablation.effect("bn-affine", variant, clean, undone)
    assert found.trained_weights >= np.abs(gamma - 1.0).max() > 0.0
    assert ablation.effect("bn-affine", variant, undone, clean).trained_weights == (
        found.trained_weights
    )


def test_the_only_batch_is_not_dropped():
    settings = replace(SETTINGS, batch_size=128, undo=("last-batch",), epochs=1)
    torch = load("torch")
    plain = replace(settings, undo=())
    ends = [execute(Run("mlp", "torch", 0), s, torch) for s in (settings, plain)]
    assert ends[0].record["history"] == ends[1].record["history"]


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", DEMONSTRATED)
def test_a_demonstration_shows_it(both, name):
    gaps = {}
    for remedied in (True, False):
        keras, torch = (a.demonstrate(name, remedied=remedied) for a in both.values())
        assert keras.keys() == torch.keys()
        for key in keras:
            assert keras[key].dtype == torch[key].dtype == np.float64, key
        gaps[remedied] = largest_difference([keras[k] for k in keras], [torch[k] for k in keras])
    assert gaps[True] <= DEMONSTRATION
    assert gaps[False] > 1e-7


def test_one_variant_of_each_family_is_measured():
    pairs, demonstrated = ablation.measurable(["bn-epsilon", "bn-affine", "bn-axis"], None)
    found = [(convention.name, variant) for convention, variant in pairs]
    assert sorted(found) == [
        ("bn-affine", "mlp-bn-no-affine"),
        ("bn-epsilon", "cnn-bn"),
        ("bn-epsilon", "lstm-bn"),
        ("bn-epsilon", "mlp-bn-after"),
    ]
    assert [convention.name for convention in demonstrated] == ["bn-axis"]


def test_named_variants_are_measured_where_touched():
    pairs, demonstrated = ablation.measurable(["bn-epsilon", "bn-axis"], ["mlp", "mlp-bn-input"])
    assert [variant for _, variant in pairs] == ["mlp-bn-input"]
    assert demonstrated == []
    with pytest.raises(InputError, match=r"mlp shows none of bn-epsilon"):
        ablation.measurable(["bn-epsilon"], ["mlp"])


def test_both_sides_are_trained_once_with_every_remedy():
    names = ["bn-epsilon", "sgd-momentum-float32", "batch-order"]
    pairs, _ = ablation.measurable(names, ["cnn-bn"])
    assert sorted(ablation.jobs(pairs), key=str) == sorted(
        [
            Job("cnn-bn", "keras", None),
            Job("cnn-bn", "torch", None),
            Job("cnn-bn", "torch", "bn-epsilon"),
            Job("cnn-bn", "keras", "sgd-momentum-float32"),
            Job("cnn-bn", "keras", "batch-order"),
            Job("cnn-bn", "torch", "batch-order"),
        ],
        key=str,
    )


def test_what_diverged_ranks_first_and_prints():
    clean = end("mlp", "torch")
    broken = {name: array * math.nan for name, array in clean.arrays.items()}
    history = {name: [None, None] for name in clean.record["history"]}
    record = {
        **clean.record,
        "history": history,
        "final": dict.fromkeys(clean.record["final"]),
        "epochs_to_target": None,
    }
    diverged = ablation.effect("loss-reduction", "mlp", clean, replace(clean, record=record))
    worse = ablation.effect("loss-reduction", "mlp", clean, replace(clean, arrays=broken))
    fine = ablation.effect("batch-order", "mlp", clean, end("mlp", "torch", "batch-order"))
    assert math.isnan(diverged.training_loss)
    assert math.isnan(diverged.test_accuracy)
    assert ablation.cells(diverged)[-3:] == ["NaN", "never", "never"]
    ranked = sorted([fine, worse], key=ablation.rank, reverse=True)
    assert ranked == [worse, fine]


@pytest.mark.slow
def test_measuring_end_to_end():
    arguments = ("bn-affine", "accuracy-threshold", "--epochs", "1", "--json")
    done = bn_compare("conventions", "--measure", *arguments)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    [baseline], [effect], [shown] = result["baselines"], result["effects"], result["shown"]
    assert baseline["convention"] is None
    assert baseline["predictions"] <= THREE_EPOCHS
    assert (effect["convention"], effect["variant"]) == ("bn-affine", "mlp-bn-no-affine")
    assert effect["predictions"] > 1e-4
    assert shown == {"convention": "accuracy-threshold", "remedied": 0.0, "unremedied": 0.25}
    assert "mlp-bn-no-affine Lightning seed 0 without bn-affine" in done.stderr


def test_tables_hold_every_row(capsys, snapshot):
    baseline = ablation.effect(None, "mlp", end("mlp", "torch"), end("mlp", "torch"))
    found = ablation.effect("batch-order", "mlp", end("mlp", "torch"), end("mlp", "torch"))
    shown = ablation.Shown("bn-axis", 0.0, 0.68)
    measured = ablation.Measured([baseline], [found], [shown])
    ablation.print_tables(measured, SETTINGS)
    assert capsys.readouterr().out == snapshot


def test_the_command_prints_the_catalogue():
    done = bn_compare("conventions", blocked=())
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line and line[0] != " "] == list(CONVENTIONS)
    one = bn_compare("conventions", "bn-axis", "--json")
    assert [c["name"] for c in json.loads(one.stdout)["conventions"]] == ["bn-axis"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bn-momentun"], "unknown convention 'bn-momentun'. Did you mean 'bn-momentum'?"),
        (["--measure", "adam-epsilom"], "Did you mean 'adam-epsilon'?"),
        (["--measure", "--variants", "mlp-bn"], "unknown variant 'mlp-bn'"),
        (["--measure", "bn-epsilon", "--variants", "mlp"], "nothing to measure"),
        (["--measure", "--epochs", "0"], "--epochs: expected"),
        (["--variants", "mlp"], "--variants works only with --measure"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bn-compare", "conventions", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1
