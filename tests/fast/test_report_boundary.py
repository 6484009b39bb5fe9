from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compare.data import Split, circles_split, grid_points
from compare.report.figure_boundary import decision_boundaries
from compare.report.figures import circles, save


@pytest.fixture
def split() -> Split:
    return circles_split(n_samples=40)


@pytest.fixture
def plane() -> np.ndarray:
    return 1 / (1 + np.exp(grid_points()[:, 0]))


def test_circles_tell_train_from_test(split: Split) -> None:
    figure = circles(split)
    assert [axes.get_title() for axes in figure.axes] == ["train: 20 points", "test: 20 points"]
    for axes, points in zip(figure.axes, (split.x_train, split.x_test), strict=True):
        assert axes.get_aspect() == 1.0
        assert sum(len(line.get_xdata()) for line in axes.lines) == len(points)


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
