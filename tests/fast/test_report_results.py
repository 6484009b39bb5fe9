from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from report_folder import filled_folder, record, small_settings

from compare.report.results import Results, pairs_csv, report_json, results_csv


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    settings = small_settings(seeds=3)
    lost = [("mlp", "torch", 1)]
    folder = filled_folder(tmp_path_factory.mktemp("study") / "run", settings, diverged=lost)
    return Results.read(folder, folder.records())


def test_a_run_without_a_clock_has_an_empty_cell() -> None:
    run = record(small_settings(), "mlp", "keras", 0) | {"epoch_seconds": None}
    assert results_csv([run]).splitlines()[1].endswith(",")


def test_pairs_have_one_line_each_with_both_sides_and_their_difference(results: Results) -> None:
    lines = list(csv.DictReader(pairs_csv(results).splitlines()))
    assert [(line["variant"], line["seed"]) for line in lines[:4]] == [
        ("mlp", "0"),
        ("mlp", "1"),
        ("mlp", "2"),
        ("mlp-bn-after", "0"),
    ]
    for name in ("test_accuracy", "test_loss", "epochs_to_target", "accuracy_area"):
        keras, torch, apart = (
            float(lines[0][f"{name}_{side}"] or "nan") for side in ("keras", "torch", "difference")
        )
        assert apart == torch - keras or name == "epochs_to_target"
    assert float(lines[0]["largest_probability_gap"]) == pytest.approx(3e-7)


def test_a_pair_that_diverged_has_no_difference(results: Results) -> None:
    lost = list(csv.DictReader(pairs_csv(results).splitlines()))[1]
    assert (lost["status_keras"], lost["status_torch"]) == ("ok", "diverged")
    assert lost["test_accuracy_keras"]
    assert lost["test_accuracy_difference"] == lost["test_accuracy_torch"] == ""
    assert lost["largest_weight_gap"] == ""


def test_json_has_every_row_in_full_precision_and_no_nan(results: Results) -> None:
    content = json.loads(report_json(results, {"summary": "x"}), parse_constant=pytest.fail)
    assert content["summary"] == "x"
    assert len(content["rows"]) == 4
    row = results.rows[0]
    assert content["rows"][0]["test_accuracy_mean"] == row.test_accuracy_mean
    assert content["rows"][0]["test_accuracy_interval"] == list(row.test_accuracy_interval or ())
    assert {"variant", "metric", "n", "estimate", "low", "high", "method", "verdict"} <= set(
        content["pairs"][0]
    )
    assert content["largest_differences"][0]["probability"] is None, "a pair diverged"


def test_nothing_is_read_twice(tmp_path: Path) -> None:
    folder = filled_folder(tmp_path / "run", small_settings(variants=("mlp",)))
    results = Results.read(folder, folder.records())
    for file in (folder.path / "weights").iterdir():
        file.unlink()
    assert results.differences[0].seeds == 1
    assert len(pairs_csv(results).splitlines()) == 2
