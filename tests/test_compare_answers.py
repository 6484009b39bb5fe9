from __future__ import annotations

from typing import Any

import pytest

from compare.answers import same
from compare.verdict_table import by_variant, difference, lines, signed
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
