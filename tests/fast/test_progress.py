import io
import sys

import numpy as np
import pytest
from standing_wait import replaced

from compare import console
from compare.console import CheckProgress
from compare.progress import Progress


@pytest.fixture
def waits(monkeypatch):
    return replaced(monkeypatch)


class Sink(dict):
    def __call__(self, name, array):
        self[name] = array

    def alias(self, name, existing):
        self[name] = self[existing]


def said(*names, steps=3):
    heard = []
    sink = Progress(heard.append, ("Keras",)).heard(Sink(), steps)
    for name in names:
        sink(name, np.zeros(1))
    return heard


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("training/block3_conv2/input", "Keras, training pass, block3_conv2"),
        ("training/block/conv#2/output", "Keras, training pass, block/conv#2"),
        ("backward/head/input_value", "Keras, backward pass, head"),
        ("evaluation/head/output", "Keras, evaluation, head"),
        ("step/2/data/x", "Keras, step 2 of 3"),
        ("step/3/slots/head/kernel/velocity", "Keras, step 3 of 3"),
    ],
)
def test_what_is_under_way_is_told_from_what_is_recorded(name, text):
    assert said(name) == [text]


def test_what_is_of_no_pass_says_nothing():
    assert said("initial/head/kernel", "prediction", "draws", "error") == []


def test_a_sink_that_is_heard_receives_everything():
    heard, sink = [], Sink()
    listened = Progress(heard.append).heard(sink, 1)
    listened("training/a/output", np.ones(1))
    listened.alias("training/b/input", "training/a/output")
    assert sink["training/b/input"] is sink["training/a/output"]
    assert heard == ["training pass, a", "training pass, b"]


def test_where_nobody_listens_a_sink_stays_what_it_is():
    sink = Sink()
    assert Progress().heard(sink, 3) is sink
    Progress().within("Torch")("evaluation")


def test_nothing_is_told_before_the_patience_is_over(waits, capsys):
    with CheckProgress() as say:
        say("Keras, training pass, a")
        say("Keras, training pass, b")
    assert capsys.readouterr() == ("", "")


def test_elsewhere_than_on_a_terminal_a_line_is_added_when_something_else_is_under_way(
    waits,
    capsys,
):
    with CheckProgress() as say:
        waits.passes()  # Nothing has been said yet.
        say("Keras, training pass, a")
        say("Keras, training pass, [b]")
        waits.passes()
        waits.passes()
        say("Torch, step 2 of 3")
        waits.passes()
        say("Torch, evaluation, a")
    assert capsys.readouterr() == ("", "Keras, training pass, [b]\nTorch, step 2 of 3\n")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_one_line_stands_and_is_taken_away(waits, monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stderr", terminal)
    with CheckProgress() as say:
        say("Keras, training pass, a")
        assert terminal.getvalue() == ""
        waits.passes()
        assert "Keras, training pass, a" in terminal.getvalue()
    # The cursor is shown again, and the line erased.
    assert terminal.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")


def test_it_ends_where_the_check_is_interrupted(waits, capsys):
    progress = CheckProgress()
    with pytest.raises(KeyboardInterrupt), progress:
        raise KeyboardInterrupt
    assert not progress._waiting.is_alive()
    assert capsys.readouterr() == ("", "")


def test_the_patience_is_two_seconds():
    assert console.PATIENCE == 2.0
