"""What is told of a check that takes long: side, pass and layer, in order."""

import sys

import keras
import pytest
from standing_wait import replaced
from tiny_pair import X, Y, almost_right_port, keras_model, right_port

import compare
from compare import cli
from compare.console import CheckProgress
from compare.errors import InputError
from compare.porting import golden
from compare.porting.floors import DRAWS
from compare.porting.options import Options

OPTIONS = {"weights_from": "keras", "steps": 3}


def told(port=right_port, **options):
    """Every text that a listener gets, once for each time that it changes."""
    texts = [""]

    def listen(text):
        if text != texts[-1]:
            texts.append(text)

    compare.check_parity(keras_model, port, X, Y, progress=listen, **{**OPTIONS, **options})
    return texts[1:]


def tell_every_text(patch):
    """Patience is over after every text: `CheckProgress` prints each."""
    waits, say = replaced(patch), CheckProgress.__call__

    def patiently(self, text):
        say(self, text)
        waits.passes()

    patch.setattr(CheckProgress, "__call__", patiently)


def test_a_right_pair_tells_every_side_pass_and_layer_in_order():
    def layers(names, reverse=False):
        return [
            *(f"training pass, {name}" for name in names),
            *(f"backward pass, {name}" for name in reversed(names)),
            *(f"step {step} of 3" for step in (1, 2, 3)),
            *(f"evaluation, {name}" for name in names),
            "a step that nobody watches",
        ]

    assert told() == [
        *(f"Keras, {text}" for text in ["step 1 of 3", *layers(("conv", "norm", "head"))]),
        *(f"Torch, {text}" for text in ["step 1 of 3", *layers(("net/0", "net/1", "net/3"))]),
        "comparing both sides",
    ]


def test_where_something_differs_rounding_is_measured_run_by_run():
    texts = told(almost_right_port)
    for draw in range(1, DRAWS + 1):
        run = f"Torch, measuring rounding, run {draw} of {DRAWS}"
        assert f"{run}, training pass, net/1" in texts
        assert f"{run}, step 3 of 3" in texts
    assert texts[-1] == "comparing both sides"


def test_steps_that_go_on_from_their_own_weights_are_told_apart():
    texts = told(almost_right_port, allow=["bn-biased-variance"])
    assert "Torch, steps from its own weights, step 3 of 3" in texts


def test_nothing_is_told_unless_asked_for(monkeypatch, capsys):
    tell_every_text(monkeypatch)
    assert compare.check_parity(keras_model, right_port, X, Y, **OPTIONS).passed
    assert capsys.readouterr() == ("", "")


def test_a_check_below_two_seconds_says_nothing(monkeypatch, capsys):
    replaced(monkeypatch)
    assert compare.check_parity(keras_model, right_port, X, Y, **OPTIONS, progress=True).passed
    assert capsys.readouterr() == ("", "")


def test_a_long_check_tells_it_on_stderr(monkeypatch, capsys):
    tell_every_text(monkeypatch)
    assert compare.check_parity(keras_model, right_port, X, Y, **OPTIONS, progress=True).passed
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == ("", told())


def test_recordings_and_replays_tell_it_too(tmp_path):
    texts = []
    options = Options(**OPTIONS, progress=texts.append)
    models, data = (keras_model, right_port), (X, Y)
    golden.record(tmp_path / "pair", models, data, options)
    assert "Keras, training pass, conv" in texts
    assert f"Torch, measuring rounding, run {DRAWS} of {DRAWS}, evaluation, net/3" in texts
    texts.clear()
    golden.replay(tmp_path / "pair", "torch", models, data, options)
    assert "Torch, training pass, net/0" in texts
    assert not any(text.startswith("Keras") for text in texts)


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_the_command_tells_it_on_stderr_and_prints_the_same(json, monkeypatch, capsys, both):
    pair = "tiny_pair:keras_model", "tiny_pair:right_port"
    arguments = "parity", *pair, "--weights-from", "keras", "--targets", "binary", *json
    monkeypatch.setattr(sys, "argv", ["bn-compare", *arguments])

    def run():
        keras.utils.set_random_seed(0)
        with pytest.raises(SystemExit) as done:
            cli.main()
        assert done.value.code == 0
        return capsys.readouterr()

    with monkeypatch.context() as patch:
        replaced(patch)
        quiet = run()
    with monkeypatch.context() as patch:
        tell_every_text(patch)
        long = run()
    assert quiet.err == ""
    assert long.out == quiet.out
    lines = long.err.splitlines()
    assert lines[:2] == ["importing the frameworks", "building both models"]
    assert {"Keras, training pass, norm", "Torch, step 2 of 2"} <= set(lines)
    assert lines[-1] == "comparing both sides"


def test_progress_is_a_switch_or_a_function():
    with pytest.raises(InputError, match="progress: expected True, False or a function"):
        Options(progress="yes")
