from __future__ import annotations

import numpy as np
from report_folder import record, small_settings

from compare.analysis.frames import Pair
from compare.report.figure_numbers import differences
from compare.report.figures import difference_curves

SETTINGS = small_settings(seeds=3)


def pairs(*shifts: float) -> list[Pair]:
    made = []
    for seed, shift in enumerate(shifts):
        keras, torch = (record(SETTINGS, "mlp", side, seed) for side in ("keras", "torch"))
        torch["history"]["test_accuracy"] = [v + shift for v in keras["history"]["test_accuracy"]]
        made.append(Pair(keras, torch))
    return made


def test_mean_and_range_are_lightning_minus_keras() -> None:
    axes = difference_curves(pairs(0.1, 0.2, 0.6)).axes[0]
    heights = sorted({round(float(line.get_ydata()[-1]), 9) for line in axes.lines})
    assert heights == [0.0, 0.1, 0.3, 0.6]
    assert len(axes.collections) == 1


def test_pairs_without_a_difference_are_a_line_at_zero() -> None:
    for axes in difference_curves(pairs(0.0, 0.0, 0.0)).axes:
        assert axes.get_ylim() == (-1.0, 1.0)
        assert all(not np.any(line.get_ydata()) for line in axes.lines)


def test_a_pair_that_diverged_leaves_empty_axes() -> None:
    (lost,) = pairs(0.1)
    lost.torch["status"] = "diverged"
    assert len(difference_curves([lost]).axes[0].lines) == 1
    assert len(list(differences([lost]))) == 1


def test_the_numbers_behind_are_those_drawn() -> None:
    lines = list(differences(pairs(0.1, 0.2, 0.6)))
    head, first = lines[:2]
    values = dict(zip(head, first, strict=True))
    assert (values["curve"], values["epoch"], values["n"]) == ("test_accuracy", 1, 3)
    np.testing.assert_allclose(
        [values[name] for name in ("mean", "smallest", "largest")], [0.3, 0.1, 0.6]
    )
    assert len(lines) == 1 + 2 * SETTINGS.epochs
