from __future__ import annotations

import pytest

from compare.analysis.frames import epoch_seconds
from compare.report.figures import seconds


def fit(framework: str, *took: float) -> dict[str, object]:
    return {"variant": "mlp", "framework": framework, "epoch_seconds": list(took) or None}


def test_median_and_most_epochs_over_all_fits() -> None:
    (found,) = epoch_seconds([fit("keras", 1.0, 2.0), fit("keras", 3.0), fit("keras")])
    assert (found.fits, found.epochs, found.median) == (2, 3, 2.0)
    assert (found.low, found.high) == (pytest.approx(1.1), pytest.approx(2.9))


def test_nothing_timed_is_nothing() -> None:
    assert epoch_seconds([fit("keras")]) == []


def test_every_framework_has_a_dot_at_its_median() -> None:
    axes = seconds(epoch_seconds([fit("keras", 0.2), fit("torch", 0.1)])).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == [0.2, 0.1]
