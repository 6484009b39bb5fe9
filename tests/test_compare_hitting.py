from __future__ import annotations

from report_folder import record, small_settings

from compare.hitting import arrivals
from compare.plot_hitting import hitting_times

SETTINGS = small_settings(seeds=4, target=0.8)


def runs(hits: list[int | None], variant: str = "mlp") -> list[dict[str, object]]:
    made = [record(SETTINGS, variant, "keras", seed) for seed in range(len(hits))]
    return [run | {"epochs_to_target": hit} for run, hit in zip(made, hits, strict=True)]


def test_misses_keep_the_curve_below_one() -> None:
    (found,) = arrivals(runs([5, 2, None, 2]), "mlp", 0.8)
    assert found.steps() == [(2, 0.5), (5, 0.75)]
    assert (found.missed, found.last) == (1, 6)


def test_a_run_that_diverged_is_left_out() -> None:
    lost = runs([5, 2])
    lost[1]["status"] = "diverged"
    (found,) = arrivals(lost, "mlp", 0.8)
    assert (found.runs, found.epochs) == (1, (5,))
    assert arrivals([lost[1]], "mlp", 0.8) == []


def test_batch_statistics_arrive_on_their_own() -> None:
    moving, batch = arrivals(runs([6], "mlp-bn-after"), "mlp-bn-after", 0.8)
    assert (moving.statistics, batch.statistics) == ("moving", "batch")
    assert batch.epochs[0] < moving.epochs[0]


def test_the_figure_says_how_many_never_arrived() -> None:
    found = {"mlp": arrivals(runs([5, 2, None, 2]), "mlp", 0.8)}
    axes = hitting_times(found, 0.8).axes[0]
    assert [text.get_text() for text in axes.texts] == ["Keras: 1 of 4 never"]
    assert axes.lines[0].get_ydata()[-1] == 0.75


def test_nobody_arrives() -> None:
    found = {"mlp": arrivals(runs([None, None]), "mlp", 0.8)}
    assert set(hitting_times(found, 0.8).axes[0].lines[0].get_ydata()) == {0.0}
