from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report_folder import record, small_settings

from compare.data import Split, circles_split, grid_points
from compare.plots import PENS, circles, decision_boundaries, learning_curves, save
from compare.records import Record

SETTINGS = small_settings(seeds=3)


@pytest.fixture(autouse=True)
def _no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def split() -> Split:
    return circles_split(n_samples=40)


@pytest.fixture
def plane() -> np.ndarray:
    return 1 / (1 + np.exp(grid_points()[:, 0]))


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


def test_circles_tell_train_from_test(split: Split) -> None:
    figure = circles(split)
    assert [axes.get_title() for axes in figure.axes] == ["train: 20 points", "test: 20 points"]
    for axes, points in zip(figure.axes, (split.x_train, split.x_test), strict=True):
        assert axes.get_aspect() == 1.0
        assert sum(len(c.get_offsets()) for c in axes.collections) == len(points)


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


def test_boundaries_show_both_sides_and_a_symmetric_difference(
    split: Split, plane: np.ndarray
) -> None:
    other = plane.copy()
    other[7] += 2e-3
    figure = decision_boundaries("mlp", split, plane, other)
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == ["Keras", "Lightning", "Lightning − Keras"]
    assert [axes.images[0].get_clim() for axes in panels[:2]] == [(0.0, 1.0)] * 2
    low, high = panels[2].images[0].get_clim()
    assert -low == high == pytest.approx(2e-3)
    shown = np.asarray(panels[2].images[0].get_array())
    assert shown[0, 7] == pytest.approx(2e-3)


def test_the_first_coordinate_runs_to_the_right(split: Split, plane: np.ndarray) -> None:
    image = decision_boundaries("mlp", split, plane, None).axes[0].images[0]
    shown = np.asarray(image.get_array())
    assert shown[0, 0] > shown[0, -1]
    assert shown[0, 0] == shown[-1, 0]
    assert image.origin == "lower"


@pytest.mark.parametrize("side", ["Keras", "Lightning"])
def test_a_side_that_is_missing_has_no_panel(split: Split, plane: np.ndarray, side: str) -> None:
    grids = (plane, None) if side == "Keras" else (None, plane)
    panels = [a for a in decision_boundaries("mlp", split, *grids).axes if a.images]
    assert [axes.get_title() for axes in panels] == [side]


def test_no_side_at_all_is_refused(split: Split) -> None:
    with pytest.raises(ValueError, match="mlp: no predictions"):
        decision_boundaries("mlp", split, None, None)


def test_equal_constant_and_lost_predictions_are_drawn(
    split: Split, plane: np.ndarray, tmp_path: Path
) -> None:
    for grid in (plane, np.ones_like(plane), np.full_like(plane, np.nan)):
        save(decision_boundaries("mlp", split, grid, grid), tmp_path, "same")
        assert (tmp_path / "same.png").stat().st_size > 1_000


def test_saving_gives_the_same_bytes_whatever_the_users_style(split: Split, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, size in ((first, 8.0), (second, 20.0)):
        folder.mkdir()
        with matplotlib.rc_context({"font.size": size, "axes.facecolor": "red"}):
            save(circles(split), folder, "circles")
    assert sorted(file.name for file in first.iterdir()) == ["circles.png", "circles.svg"]
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()
    assert "<dc:date>" not in (first / "circles.svg").read_text(encoding="utf-8")


def test_saving_twice_changes_nothing_and_cuts_nothing_off(split: Split, tmp_path: Path) -> None:
    figure = circles(split)
    save(figure, tmp_path, "circles")
    first = (tmp_path / "circles.png").read_bytes()
    save(figure, tmp_path, "circles")
    assert (tmp_path / "circles.png").read_bytes() == first
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0


def test_drawing_leaves_matplotlibs_settings_alone(split: Split) -> None:
    before = {k: v for k, v in matplotlib.rcParams.items() if k != "backend"}
    circles(split)
    assert {k: v for k, v in matplotlib.rcParams.items() if k != "backend"} == before
