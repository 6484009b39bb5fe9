from __future__ import annotations

from typing import Any

import pytest

from compare.answers import helps, same
from compare.benefit import Benefit
from compare.verdict_table import by_variant, difference, effect_lines, lines, signed
from compare.verdicts import Comparison


def comparison(variant: str, verdict: str, **changes: Any) -> Comparison:
    values: dict[str, Any] = {
        "metric": "test_accuracy",
        "sides": ("torch", "keras"),
        "n": 10,
        "estimate": 0.002,
        "low": -0.001,
        "high": 0.005,
        "method": "Student's t",
        "reason": "because",
        "margin": (-0.01, 0.01),
    }
    return Comparison(variant, verdict=verdict, **{**values, **changes})


def test_the_same_is_yes_and_names_what_is_not_identical() -> None:
    found = [comparison("mlp", "identical"), comparison("cnn", "equivalent")]
    text = same(found)
    assert text.startswith(
        "Yes: final test accuracy, over 2 variants, is equivalent within ±0.01 in 1 (cnn) "
        "and identical, pair by pair, in 1."
    )
    assert "All 2 comparisons" in text
    assert "1 identical, 1 equivalent." in text


@pytest.mark.parametrize(
    ("verdict", "start"),
    [
        ("different", "No:"),
        ("inconclusive", "Not settled:"),
        ("refused", "Not settled:"),
        ("equivalent", "Yes:"),
    ],
)
def test_one_variant_that_is_not_the_same_decides(verdict: str, start: str) -> None:
    found = [comparison(f"v{i}", "identical") for i in range(9)]
    assert same([*found, comparison("odd", verdict, further_seeds=1200)]).startswith(start)


def test_further_seeds_and_reasons_are_said() -> None:
    text = same([comparison("a", "inconclusive", further_seeds=1200), comparison("b", "refused")])
    assert "a: 1,200 further seeds would do" in text
    assert "b: because" in text


def test_another_endpoint_does_not_decide() -> None:
    found = [comparison("a", "identical"), comparison("a", "different", metric="test_loss")]
    assert same(found).startswith("Yes")
    assert "1 different" in same(found)


def test_nothing_to_compare_is_said() -> None:
    assert same([]).startswith("Nothing to compare")
    assert same([comparison("a", "refused")]).startswith("Not judged")


def test_differences_have_their_sign_and_interval() -> None:
    assert difference(comparison("a", "equivalent")) == "+0.0020 [−0.0010, +0.0050]"
    assert difference(comparison("a", "refused", low=None)) == "+0.0020"
    assert difference(comparison("a", "refused", estimate=None)) == difference(None) == "–"
    ratio = comparison("a", "different", metric="epochs_to_target", estimate=1.2, low=1.1, high=1.3)
    assert difference(ratio) == "×1.200 [×1.100, ×1.300]"
    assert [signed(v) for v in (0.0, -3e-7, 0.5)] == ["0", "−3.0e-07", "+0.5000"]


def test_what_is_left_out_is_in_the_last_column() -> None:
    one = comparison("a", "refused", missed=2, diverged=("a-torch-1",), paired=False)
    (line,) = lines([one])
    assert line[2] == "10 (unpaired)"
    assert line[-1] == "because; Student's t; 2 never reached it; 1 diverged"


def test_one_endpoint_by_variant() -> None:
    found = [comparison("a", "identical"), comparison("a", "different", metric="test_loss")]
    assert by_variant(found, "test_loss")["a"].verdict == "different"


def benefit(variant: str, effect: str, framework: str = "keras", **changes: Any) -> Benefit:
    return Benefit(framework, "mlp", comparison(variant, "different", **changes), effect)


def test_one_effect_in_both_frameworks_is_said_once() -> None:
    found = [
        benefit("a", "better", side, metric=metric)
        for side in ("keras", "torch")
        for metric in ("test_accuracy", "epochs_to_target")
    ]
    text = helps(found, [])
    assert text.startswith(
        "Yes, against the same network without it: final test accuracy is better"
    )
    assert text.count("better in 1 (a)") == 2


def test_better_here_and_worse_there_depends_and_a_lone_framework_is_named() -> None:
    found = [benefit("a", "better"), benefit("a", "worse", "torch")]
    found += [
        benefit("a", "not settled", side, metric="epochs_to_target") for side in ("keras", "torch")
    ]
    text = helps(found, [])
    assert text.startswith("It depends")
    assert "better in 1 (a (Keras)) and worse in 1 (a (Lightning))" in text


@pytest.mark.parametrize(
    ("effect", "lead"), [("worse", "No,"), ("not settled", "Not settled,"), ("no effect", "No,")]
)
def test_no_better_is_no_yes(effect: str, lead: str) -> None:
    found = [benefit("a", effect, metric=m) for m in ("test_accuracy", "epochs_to_target")]
    assert helps(found, []).startswith(lead)


def test_no_baseline_is_said() -> None:
    assert helps([], []).startswith("Nothing to compare")


def test_effects_have_a_line_each() -> None:
    (line,) = effect_lines([benefit("a", "worse")])
    assert line[:4] == ["a", "Keras", "mlp", "final test accuracy"]
    assert line[-2:] == ["worse", "because; Student's t"]
