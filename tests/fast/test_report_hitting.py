from __future__ import annotations

from report_folder import record, small_settings

from compare.analysis.time_to_target import BATCH, convergence
from compare.report.figure_numbers import hitting_times as numbers
from compare.report.figures import hitting_times
from compare.study.records import Record

SETTINGS = small_settings(seeds=4)


def runs(*hits: int | None, variant: str = "mlp") -> list[Record]:
    """Runs whose test accuracy jumps over the target at an epoch of choice."""
    made = [record(SETTINGS, variant, "keras", seed) for seed in range(len(hits))]
    for run, hit in zip(made, hits, strict=True):
        epochs = range(1, SETTINGS.epochs + 1)
        run["history"]["test_accuracy"] = [0.9 if hit and e >= hit else 0.5 for e in epochs]
    return made


def test_misses_keep_the_curve_below_one_and_are_named() -> None:
    axes = hitting_times(convergence(runs(5, 2, None, 2), 0.8), 6).axes[0]
    assert list(axes.lines[0].get_ydata()) == [0.0, 0.5, 0.75, 0.75]
    assert list(axes.lines[0].get_xdata()) == [0, 2, 5, 6]
    assert [text.get_text() for text in axes.texts] == ["Keras: 1 of 4 never"]


def test_all_that_arrive_are_not_named() -> None:
    axes = hitting_times(convergence(runs(5, 2), 0.8), 6).axes[0]
    assert len(axes.texts) == 0
    assert axes.lines[0].get_ydata()[-1] == 1.0


def test_nobody_arrives() -> None:
    found = convergence(runs(None, None), 0.8)
    assert set(hitting_times(found, 6).axes[0].lines[0].get_ydata()) == {0.0}
    assert list(numbers(found))[1:] == [("mlp", "keras", "test_accuracy", None, 0.0, 2, 2)]


def test_batch_statistics_are_dashed_and_share_the_panel() -> None:
    records = runs(6, variant="mlp-bn-after")
    found = [*convergence(records, 0.8), *convergence(records, 0.8, curve=BATCH)]
    figure = hitting_times(found, 6)
    assert len(figure.axes[0].lines) == 2
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["Keras", "moving statistics", "batch statistics"]
