from __future__ import annotations

from typing import Any

import pytest

from compare.analysis.batch_norm_effect import Benefit
from compare.analysis.equivalence import Comparison, Share
from compare.analysis.intervals import Interval
from compare.console import signed
from compare.report.tables import by_variant, difference, effect_lines
from compare.report.tables import verdict_lines as lines
from compare.report.text import same


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
        "Yes: final test accuracy, over 2 variants, is identical, pair by pair, in 1 "
        "and equivalent within ±0.01 in 1 (cnn)."
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


def few(at_most: float, differ: int = 1, n: int = 10, **changes: Any) -> Comparison:
    share = Share(differ, n, Interval(0.0, 0.45, "Clopper–Pearson"), at_most)
    return comparison("odd", "refused", n=n, share=share, **changes)


def inside(variant: str, verdict: str, at_most: float) -> Comparison:
    share = Share(3, 10, Interval(0.0, 0.7, "Clopper–Pearson"), at_most)
    return comparison(variant, verdict, share=share)


def test_few_differences_inside_the_margin_are_a_yes_in_every_run() -> None:
    text = same([inside("a", "identical", 0.0), inside("b", "equivalent", 0.004), few(0.002)])
    assert text.startswith("Yes, in every run: final test accuracy, over 3 variants, is identical")
    assert "within ±0.01 in every run of 1 (odd: 1 of 10 runs differs, by 0.002, so no" in text
    two = same([few(0.004, differ=2)])
    assert two.startswith("Yes, in every run: final test accuracy, over the one variant, is within")
    assert "2 of 10 runs differ, by at most 0.004" in two


def test_a_mean_inside_the_margin_does_not_speak_for_every_run() -> None:
    text = same([inside("b", "equivalent", 0.02), few(0.002)])
    assert text.startswith("Yes, on average or in every run:")


@pytest.mark.parametrize(
    "one",
    [few(0.01), few(0.5), few(0.002, n=2), few(0.003, margin=(-0.001, 0.01)), few(0.0, 0, n=1)],
    ids=["on the margin", "far outside", "two pairs", "lopsided margin", "one pair that agrees"],
)
def test_few_differences_outside_the_margin_or_too_few_pairs_settle_nothing(
    one: Comparison,
) -> None:
    assert same([comparison("a", "identical"), one]).startswith("Not settled:")
    assert same([one]).startswith("Not judged:")
    assert "not judged in 1 (odd: because)" in same([one])


def test_what_differs_outweighs_what_is_small() -> None:
    assert same([comparison("a", "different"), few(0.002)]).startswith("No:")
    assert same([comparison("a", "inconclusive"), few(0.002)]).startswith("Not settled:")
    assert same([comparison("a", "refused"), few(0.002)]).startswith("Not settled:")


def test_runs_that_are_left_out_are_not_spoken_for() -> None:
    lost = {"diverged": ("odd-torch-1", "odd-keras-1")}
    text = same([few(0.002, **lost)])
    assert text.startswith("Yes, in every pair that finished:")
    assert "Left out, with their partners: 2 diverged." in text
    absent = same([comparison("a", "identical", missing=("a-torch-3",))])
    assert absent.startswith("Yes, where both finished:")
    assert "Left out, with their partners: 1 missing." in absent
    both = same([inside("b", "equivalent", 0.02), few(0.002, missing=("odd-keras-2",), **lost)])
    assert both.startswith("Yes, on average or in every pair that finished:")
    assert "2 diverged and 1 missing." in both


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


def test_effects_have_a_line_each() -> None:
    (line,) = effect_lines([benefit("a", "worse")])
    assert line[:4] == ["a", "Keras", "mlp", "final test accuracy"]
    assert line[-2:] == ["worse", "because; Student's t"]
