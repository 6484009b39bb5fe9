from __future__ import annotations

from typing import Any

import pytest
from test_report_answers import benefit

from compare.analysis.batch_norm_effect import Lag
from compare.analysis.time_to_target import Arrivals
from compare.report.text import helps, in_full

METRICS = ("test_accuracy", "epochs_to_target")
SIDES = ("keras", "torch")


def both(variant: str, accuracy: str, speed: str) -> list[Any]:
    effects = zip(METRICS, (accuracy, speed), strict=True)
    return [benefit(variant, e, side, metric=m) for m, e in effects for side in SIDES]


def test_accuracy_and_speed_are_a_sentence_each_in_counts() -> None:
    found = [
        *both("a", "better", "better"),
        *both("b", "no effect that matters", "no effect that matters"),
        *both("c", "better", "worse"),
    ]
    assert helps(found) == (
        "It depends. Against the same network without it, final test accuracy is better in 2 of "
        "3 variants and about the same in 1. Epochs to the target are fewer in 1 of 3 variants, "
        "more in 1 and about as many in 1."
    )


def test_names_are_in_the_full_answer() -> None:
    found = [*both("a", "better", "no effect"), *both("b", "better", "worse")]
    accuracy, speed = in_full(found, [])
    assert accuracy == "Final test accuracy is better for a, b."
    assert speed == "Epochs to the target are more for b; the same for a."


def test_frameworks_that_do_not_agree_are_named() -> None:
    found = [benefit("a", "better"), benefit("a", "worse", "torch")]
    found += [benefit("a", "not settled", side, metric="epochs_to_target") for side in SIDES]
    text = helps(found)
    assert text.startswith("It depends.")
    assert "is not the same in both frameworks in 1 of 1 variant." in text
    assert in_full(found, [])[0].endswith("better for a in Keras; worse for a in Lightning.")


@pytest.mark.parametrize(
    ("effect", "lead"),
    [
        ("better", "Yes."),
        ("worse", "No."),
        ("not settled", "Not settled."),
        ("no effect", "No."),
        ("not judged", "Not judged."),
    ],
)
def test_the_first_word_is_the_answer(effect: str, lead: str) -> None:
    assert helps(both("a", effect, effect)).startswith(lead)


def test_no_baseline_is_said() -> None:
    assert helps([]).startswith("Nothing to compare")
    assert in_full([], []) == []


def test_the_longest_lag_is_told() -> None:
    hits = Arrivals((3,), (), 0)
    lags = [Lag(n, "keras", 0.99, 0.8, hits, hits, e) for n, e in (("a", 2.0), ("b", 14.0))]
    text = in_full(both("a", "better", "better"), lags)[-1]
    assert "b arrives 14 epochs earlier (median)" in text
