from __future__ import annotations

from typing import Any

import pytest

from compare.analysis.time_to_target import Race
from compare.console import p_value
from compare.report.tables import race_lines as lines


def race(**changes: Any) -> Race:
    start = {"pairs": 10, "torch_first": 0, "keras_first": 0, "neither": 0}
    tests = {"sign_test": None, "log_rank": None, "paired": True}
    return Race("mlp", **{**start, **tests, **changes})


@pytest.mark.parametrize(
    ("found", "who", "test"),
    [
        (
            race(keras_first=1, torch_first=3, neither=2, sign_test=0.625),
            "Keras first in 1, Lightning first in 3, together in 4 and neither arrives in 2 of "
            "10 seeds",
            "sign test, p = 0.62",
        ),
        (race(), "together in 10 of 10 seeds", "no p-value: neither is ever first"),
        (race(pairs=1, neither=1), "neither arrives in 1 of 1 seed", "no p-value: neither is"),
        (race(pairs=0), "no pair is complete", "no p-value without pairs"),
        (race(paired=False, pairs=0, log_rank=0.0312), "unpaired", "log-rank test, p = 0.031"),
        (race(paired=False, pairs=0), "unpaired", "no p-value: too few arrivals"),
    ],
)
def test_a_race_in_words(found: Race, who: str, test: str) -> None:
    ((name, first, second),) = lines([found])
    assert name == "mlp"
    assert first.startswith(who)
    assert second.startswith(test)


def test_p_values_have_two_digits() -> None:
    assert [p_value(v) for v in (1.0, 0.0312, 1.91e-5)] == ["1.00", "0.031", "1.9e-05"]
