from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest

from compare.data import Split, circles_split
from compare.report.figures import circles, save


@pytest.fixture
def split() -> Split:
    return circles_split(n_samples=40)


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
