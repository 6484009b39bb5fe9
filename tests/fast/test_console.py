import pytest
from test_report_table import row

from compare import console
from compare.analysis.frames import Difference
from compare.report.tables import cells, headings, judged

NAMES = ("mlp-bn-no-momentum", "cnn")


@pytest.fixture
def lines():
    """The widest cells that ten fine seeds give."""
    seeds = {"seeds": 10, "test_accuracy_interval": (0.8123, 0.8765), "reached_target": 10}
    rows = [
        row(name, side, **seeds, epochs_to_target_median=24.5)
        for name in NAMES
        for side in ("keras", "torch")
    ]
    gaps = [Difference(name, 10, 3.14e-7, 0.0) for name in NAMES]
    return [judged(line, "inconclusive") for line in cells(rows, gaps)]


def printed(lines, width, monkeypatch, capsys):
    monkeypatch.setattr(console, "WIDTH_OF_A_PIPE", width)
    console.Table(judged(headings(0.8), "verdict"), lines, left=1).print()
    return capsys.readouterr().out.splitlines()


def test_the_table_of_a_study_fits_120_columns(lines, monkeypatch, capsys):
    found = printed(lines, 120, monkeypatch, capsys)
    assert max(map(len, found)) <= 120
    assert found[-2:] == [
        "mlp-bn-no-momentum 0.848 [0.812, 0.876] 0.848 [0.812, 0.876] inconclusive"
        "   24.5      24.5   0.152     0.152 3.1e-07",
        "cnn                0.848 [0.812, 0.876] 0.848 [0.812, 0.876] inconclusive"
        "   24.5      24.5   0.152     0.152 3.1e-07",
    ]


def test_a_wide_terminal_gets_wider_gaps(lines, monkeypatch, capsys):
    assert "0.876]  inconclusive" in printed(lines, 150, monkeypatch, capsys)[-1]


def test_a_narrow_terminal_loses_nothing(lines, monkeypatch, capsys):
    found = printed(lines, 70, monkeypatch, capsys)
    assert max(map(len, found)) <= 70
    assert "…" not in "".join(found)


def test_a_table_in_markdown_aligns_numbers_right_and_shows_text_as_it_is():
    table = console.Table(["variant", "max |Δp|"], [["mlp_bn", "0"], ["cnn", ""]], left=1)
    assert table.markdown().splitlines() == [
        r"| variant | max \|Δp\| |",
        "| --- | ---: |",
        r"| mlp\_bn | 0 |",
        "| cnn |  |",
    ]


def test_a_title_stands_above_its_table(capsys):
    console.Table(["a"], [["1"]], title="Seconds [s]").print()
    assert capsys.readouterr().out.splitlines()[0] == "Seconds [s]"
