from __future__ import annotations

from compare.analysis.frames import counted, is_sound


def test_a_sum_that_overflows_is_not_a_run_that_diverged() -> None:
    run = {"status": "ok", "final": {}, "history": {"test_loss": [1.7e308, 1.7e308]}}
    assert is_sound(run)
    assert not is_sound({**run, "history": {"test_loss": [1.0, None]}})
    assert not is_sound({**run, "final": {"test_loss": float("nan")}})


def test_a_run_that_lacks_a_number_is_counted_as_diverged() -> None:
    fine = {"status": "ok", "final": {"a": 1.0}, "history": {"a": [0.5, 1.0]}}
    assert counted(fine) is fine
    lost = counted({**fine, "final": {"a": float("nan")}, "history": {"a": [None, 1.0]}})
    assert lost == {"status": "diverged", "final": {"a": None}, "history": {"a": [None, 1.0]}}
    assert counted(lost) is lost
