import json
import math
from dataclasses import replace

import pytest

from compare.parity.findings import Finding
from compare.parity.ladder import RUNGS, Check, Divergence, Ladder
from compare.parity.report import FIRST_SCREEN, ParityError, ParityReport, layers, page
from compare.parity.tolerances import Gap

EPSILON = Finding("norm", "epsilon", 1e-3, 1e-5, "bn-epsilon")
DECAY = Finding("norm", "decay", 0.99, 0.9, "bn-momentum")
STRIDE = Finding("conv", "strides", [2, 2], [1, 1])


def gap(value):
    return Gap(value, value, (), 1.0, 1.0 + value, 1.0)


def report(**changes):
    ladder = Ladder(dict.fromkeys(RUNGS, 1e-9))
    for rung, layer, value in [
        (1, "norm", 0.0),
        (1, "conv", 0.0),
        (4, "conv", 1e-12),
        (4, "norm", math.nan),
        (4, "norm", 0.5),
    ]:
        ladder.climbed.append(rung)
        ladder.add(rung, f"training/{layer}/output", layer, gap(value), 1)
    values = {
        "passed": False,
        "first_divergence": Divergence(4, RUNGS[4], 1, "norm", ("bn-epsilon",)),
        "rungs": tuple(ladder.results()),
        "dtype": "float64",
        "findings": (STRIDE, EPSILON, DECAY),
        "checks": tuple(ladder.checks),
    }
    return ParityReport(**{**values, **changes})


def test_the_first_lines_say_what_differs_where_and_why_and_what_else_of_that_layer():
    first, second, third, fourth = report().verdict()
    assert first == (
        "Keras and Torch differ first on rung 4 (forward, training), step 1: norm. "
        "There: training/norm/output Keras 1, Torch nan"
    )
    assert second == (
        "Explained by bn-epsilon: epsilon is 0.001 in Keras, 1e-05 in Torch. In Torch: `eps=0.001`."
    )
    assert third == (
        "Also bn-momentum at norm: decay is 0.99 in Keras, 0.9 in Torch. "
        "In Torch: `momentum=1.0 - 0.99`."
    )
    assert fourth == "Also conv: strides is [2, 2] in Keras, [1, 1] in Torch."


def test_what_is_allowed_is_not_told_again():
    told = report(allowed=("bn-momentum",), findings=(EPSILON, DECAY)).verdict()
    assert not [line for line in told if line.startswith("Also bn-momentum")]
    assert "(allowed: bn-momentum)" in told[0]


def test_a_convention_without_a_setting_is_told_in_general():
    told = report(findings=()).verdict()
    assert told[1].startswith("Explained by bn-epsilon: Keras: epsilon is added to the variance")
    assert told[1].endswith("In Torch: `eps=<Keras' value>`.")


def many(layers):
    """A report of a pair with so many layers, all set wrong alike."""
    findings = [
        replace(f, layer=f"conv{n}/{f.layer}") for n in range(layers) for f in (EPSILON, DECAY)
    ]
    first = Divergence(4, RUNGS[4], 1, "conv0/norm", ("bn-epsilon",))
    return report(findings=tuple(findings), first_divergence=first)


def test_a_deep_pair_has_no_longer_message_than_one_of_one_layer():
    one, deep = many(1), many(120)
    assert len(str(deep).splitlines()) == len(str(one).splitlines()) <= FIRST_SCREEN
    assert "Also bn-momentum at 120 layers (conv0/norm … conv119/norm): decay is 0.99" in str(deep)
    longest = max(map(len, str(deep).splitlines())) - max(map(len, str(one).splitlines()))
    assert longest < 60


def test_the_first_screen_is_not_longer_whatever_differs():
    others = [Finding("norm", f"setting {n}", n, n + 1) for n in range(50)]
    lines = str(report(findings=(EPSILON, *others))).splitlines()
    assert len(lines) <= FIRST_SCREEN
    assert [line for line in lines if line.endswith("settings more: see `findings`.")]


def test_what_runs_between_two_layers_is_named():
    first = Divergence(4, RUNGS[4], 1, "between conv and norm", runs=("pool", "relu"))
    assert (
        report(first_divergence=first)
        .verdict()[0]
        .partition(" There")[0]
        .endswith("between conv and norm, where pool and relu run.")
    )


def test_what_was_not_compared_ends_the_message():
    words = ("the schedule ReduceLROnPlateau", "metrics: accuracy")
    for passed in (report(passed=True, first_divergence=None), report()):
        text = str(replace(passed, not_compared=words))
        assert text.endswith("Not compared: the schedule ReduceLROnPlateau; metrics: accuracy.")
    content = replace(report(), not_compared=words).to_json()
    assert content["not_compared"] == list(words)
    assert "metrics: accuracy" in page([{"test": "", **content}])
    assert "Not compared" not in str(report())


def test_only_what_can_be_predicted_is_offered_to_be_allowed():
    first = Divergence(8, RUNGS[8], 1, "norm", ("bn-biased-variance",))
    told = report(first_divergence=first, findings=()).verdict()
    assert told[-1] == 'To accept the difference: allow=["bn-biased-variance"]'
    assert "allow=" not in report().verdict()[-1]


def test_layers_are_in_running_order_and_nan_is_their_worst():
    found = [(row.layer, row.rung, row.passed, row.max_abs) for row in layers(report().checks)]
    assert found == [
        ("conv", 4, True, 1e-12),
        ("norm", 4, False, None),
        ("norm", 1, True, 0.0),
        ("conv", 1, True, 0.0),
    ]


def test_json_holds_no_nan_and_all_that_the_text_tells():
    content = json.loads(json.dumps(report().to_json(), allow_nan=False))
    assert content["first_divergence"]["layer"] == "norm"
    assert content["verdict"] == report().verdict()
    assert [finding["setting"] for finding in content["findings"]] == [
        "strides",
        "epsilon",
        "decay",
    ]
    assert content["rungs"][-1]["max_abs"] is None


def test_a_page_of_several_is_safe_html():
    one = {"test": "test_<b>port", **report().to_json()}
    text = page([one, {**one, "test": "other", "passed": True}])
    assert "<h2>test_&lt;b&gt;port – differs</h2>" in text
    assert "1 of 2 pairs are the same computation" in text
    assert "no number" in text
    assert "http" not in text


def test_raising_shows_the_report():
    with pytest.raises(ParityError, match="differ first on rung 4"):
        report().raise_if_diverged()
    report(passed=True).raise_if_diverged()


def test_check_is_not_passed_by_nan():
    assert not Check(4, "a", "a", 1, gap(math.nan), 1.0).passed
