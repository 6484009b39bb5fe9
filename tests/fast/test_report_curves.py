from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report_folder import record, small_settings

from compare.report.figure_curves import learning_curves
from compare.report.figures import PENS, save
from compare.study.records import Record

SETTINGS = small_settings(seeds=3)


def runs(*seeds: int, variant: str = "mlp-bn-after", lost: tuple[int, ...] = ()) -> list[Record]:
    return [
        record(SETTINGS, variant, framework, seed, diverged=seed in lost)
        for framework in ("keras", "torch")
        for seed in seeds
    ]


def thick(axes: Axes, framework: str) -> list[np.ndarray]:
    pen = PENS[framework]
    return [
        np.asarray(line.get_ydata(), dtype=float)
        for line in axes.lines
        if line.get_color() == pen.color and line.get_linewidth() == pen.width
    ]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_one_seed_draws_its_own_curves_once_per_framework() -> None:
    records = runs(0)
    accuracy, loss = learning_curves("mlp-bn-after", records, 0.8).axes
    for framework, run in zip(("keras", "torch"), records, strict=True):
        curves = thick(accuracy, framework)
        assert len(curves) == 4
        np.testing.assert_allclose(curves[0], run["history"]["test_accuracy"])
        assert len(thick(loss, framework)) == 3


def test_both_frameworks_stay_visible_where_they_coincide() -> None:
    keras, torch = PENS["keras"], PENS["torch"]
    assert keras.width > 2 * torch.width
    axes = learning_curves("mlp", runs(0, variant="mlp"), 0.8).axes[0]
    colors = [line.get_color() for line in axes.lines]
    assert colors.index(keras.color) < colors.index(torch.color)
    patterns = {
        color: [
            np.array(line._dash_pattern[1] or ())
            for line in axes.lines
            if line.get_color() == color
        ]
        for color in (keras.color, torch.color)
    }
    for wide, thin in zip(patterns[keras.color], patterns[torch.color], strict=True):
        np.testing.assert_allclose(wide, thin)


def test_the_legend_names_what_is_drawn_and_nothing_else() -> None:
    names = legend(learning_curves("mlp", runs(0, variant="mlp"), 0.75))
    assert {"Keras", "Lightning", "target: 75 %", "train, while training"} <= set(names)
    assert "test, batch statistics" not in names
    assert "diverged" not in names
    assert "test, batch statistics" in legend(learning_curves("mlp-bn-after", runs(0), 0.8))
    assert "Keras" not in legend(learning_curves("mlp-bn-after", runs(0)[1:], 0.8))


def test_the_mean_leaves_out_a_run_that_diverged_and_the_run_ends_in_a_cross() -> None:
    records = runs(0, 1, 2, lost=(1,))
    figure = learning_curves("mlp-bn-after", records, 0.8)
    fine = [r["history"]["test_accuracy"] for r in records if r["framework"] == "keras"]
    middle = thick(figure.axes[0], "keras")[0]
    np.testing.assert_allclose(middle, np.mean([fine[0], fine[2]], axis=0))
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == [3, 3]
    assert "diverged" in legend(figure)


def test_an_exploding_run_does_not_flatten_the_others() -> None:
    records = runs(0, 1, lost=(1,))
    records[1]["history"]["test_loss"][2] = 1e9
    assert learning_curves("mlp-bn-after", records, 0.8).axes[1].get_ylim()[1] < 2


@pytest.mark.parametrize("epochs", [1, 6])
def test_histories_full_of_holes_are_drawn(epochs: int, tmp_path: Path) -> None:
    gone = record(small_settings(epochs=epochs), "mlp", "keras", 0, diverged=True)
    gone["history"] = {"test_loss": [None] * epochs, "test_accuracy": [None] * epochs}
    save(learning_curves("mlp", [gone], 0.8), tmp_path, "holes")
    del gone["history"]
    save(learning_curves("mlp", [gone], 0.8), tmp_path, "nothing")
    assert all((tmp_path / f"{name}.png").stat().st_size > 1_000 for name in ("holes", "nothing"))


def test_three_seeds_have_an_interval_and_two_have_none() -> None:
    for seeds, shades in (((0, 1, 2), 4), ((0, 1), 0)):
        accuracy, loss = learning_curves("mlp-bn-after", runs(*seeds), 0.8).axes
        assert len(accuracy.collections) == shades
        assert len(loss.collections) == shades // 2
