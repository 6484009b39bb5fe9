"""Every remedy for Torch, taken from the report of a wrong port, makes that port right."""

import re

import pytest
from keras import layers as K
from torch import nn
from verdicts.remembered import keras_side_remembered
from wrong_ports import WRONG
from wrong_ports.optimizers import AT_DEFAULTS, one, trained
from wrong_ports.wrong import Wrong, compiled, keywords

import compare
from bn_torch import BiasedBatchNorm
from compare.conventions import CONVENTIONS
from compare.parity.report import FIRST_SCREEN

# A warning is all that tells a porter, and here it is meant.
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")

CODE = re.compile(r"`([^`]+)`")
NAMEABLE = {
    name: entry
    for name, entry in CONVENTIONS.items()
    if {"numbers", "inspection"} & set(entry.found)
}
"""What a check of two models may name as a cause."""

NO_SETTING = "no setting"
"""What a remedy begins with where it is no code."""


def report_of(wrong, **replaced):
    arguments, options = wrong.arguments(**replaced)
    return compare.check_parity(*arguments, **options)


def printed(report, name=""):
    """The code of a remedy, from all lines of a report that explain by a convention."""
    lines = [line for line in str(report).splitlines() if line.startswith(f"Explained by {name}")]
    return [code for line in lines for code in CODE.findall(line.partition(" In Torch: ")[2])]


@pytest.mark.parametrize("name", NAMEABLE)
def test_a_remedy_is_code_or_says_that_no_setting_does_it(name):
    remedy = NAMEABLE[name].to_torch
    assert bool(CODE.search(remedy)) is not remedy.startswith(NO_SETTING)
    assert "…" not in "".join(CODE.findall(remedy))


def test_every_remedy_that_is_code_has_a_wrong_port():
    of_code = {name for name, entry in NAMEABLE.items() if CODE.search(entry.to_torch)}
    remedied = {key.partition(":")[0] for key, wrong in WRONG.items() if wrong.remedied}
    assert remedied == of_code


@pytest.mark.sampled(8)
@pytest.mark.parametrize("key", [key for key, wrong in WRONG.items() if wrong.remedied])
def test_a_remedy_as_printed_makes_the_port_right(key):
    name, wrong = key.partition(":")[0], WRONG[key]
    model = wrong.model()
    with keras_side_remembered():
        report = report_of(wrong, model=model)
        assert name in report.first_divergence.explained_by
        codes = printed(report, name)
        # Nothing is left for the reader to fill in.
        assert codes
        assert "<" not in "".join(codes)
        report_of(wrong, model=model, **wrong.remedied(*codes)).raise_if_diverged()


@pytest.mark.parametrize("kind", AT_DEFAULTS)
def test_all_remedies_of_an_optimizer_left_at_its_defaults_are_printed(kind):
    ours, theirs = AT_DEFAULTS[kind]
    wrong = Wrong(trained(ours), one, optimizer=theirs)
    model = wrong.model()
    with keras_side_remembered():
        codes = [c for c in printed(report_of(wrong, model=model)) if re.match(r"\w+=", c)]
        arguments = keywords(", ".join(codes))
        remedied = report_of(wrong, model=model, optimizer=lambda p: theirs(p, **arguments))
    remedied.raise_if_diverged()


def stacked(count, made):
    layers = [part for n in range(count) for part in (K.Dense(4), made(n))]
    return lambda: compiled(*layers, K.Dense(2, name="head"))


def stacked_port(count, norm):
    widths = [5, *[4] * count]
    parts = [part for width in widths[:-1] for part in (nn.Linear(width, 4), norm())]
    return nn.Sequential(*parts, nn.Linear(4, 2))


NORMS = {"epsilon": {"epsilon": 2e-3}, "momentum": {"momentum": 0.75}}


def message(count, options):
    wrong = Wrong(
        stacked(count, lambda n: K.BatchNormalization(name=f"norm_{n}", **options)),
        lambda: stacked_port(count, lambda: BiasedBatchNorm(4, eps=1e-3, momentum=0.01)),
    )
    return report_of(wrong)


def without_names(line):
    """A line without places, and with all measured numbers as long as each other."""
    line = re.sub(r", at \d+ layers \(.*?\)", "", line)
    line = re.sub(r"\d+ layers \(.*?\)", "norm_0", line)
    line = re.sub(r"\w+(/\w+)+ \[[\d, ]+\]", "a value", line)
    return re.sub(r"-?\d+(\.\d+)?(e[-+]\d+)?", "1", line)


@pytest.mark.parametrize("wrong", NORMS)
def test_many_equal_layers_say_no_more_than_one(wrong):
    one_layer, many = message(1, NORMS[wrong]), message(12, NORMS[wrong])
    assert not one_layer.passed
    assert not many.passed
    assert len(str(many).splitlines()) <= FIRST_SCREEN
    assert len(str(many).splitlines()) == len(str(one_layer).splitlines())
    # Below is a line for every rung, and more rungs may fail where more follows.
    lines = [map(without_names, report.verdict()) for report in (one_layer, many)]
    for line, other in zip(*lines, strict=True):
        assert len(other) <= len(line), other
