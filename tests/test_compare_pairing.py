from __future__ import annotations

from compare.pairing import is_sound


def test_a_sum_that_overflows_is_not_a_run_that_diverged() -> None:
    run = {"status": "ok", "final": {}, "history": {"test_loss": [1.7e308, 1.7e308]}}
    assert is_sound(run)
    assert not is_sound({**run, "history": {"test_loss": [1.0, None]}})
    assert not is_sound({**run, "final": {"test_loss": float("nan")}})
