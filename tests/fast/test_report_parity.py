from __future__ import annotations

import numpy as np

from compare.report.figures import FLOOR, drift


def test_every_variant_is_a_row_and_zero_is_the_floor() -> None:
    axes = drift({"a": np.array([0.0, 1e-7]), "b": np.array([1e-3])}).axes[0]
    image = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "b"]
    assert image[0].tolist() == [FLOOR, 1e-7]
    assert image[1][0] == 1e-3
    assert np.isnan(image[1][1])


def test_studies_without_a_difference_are_drawn() -> None:
    figure = drift({"a": np.zeros(3)})
    figure.draw_without_rendering()
    assert np.ma.filled(figure.axes[0].images[0].get_array(), np.nan).tolist() == [[FLOOR] * 3]
