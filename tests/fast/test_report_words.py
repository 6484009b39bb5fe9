from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_folder import arrays, empty_folder, filled_folder, record, small_settings

from compare.errors import RunFolderError
from compare.report.pages import write
from compare.study.records import RunFolder

NUMBER = re.compile(r"(?<![\w.])−?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?")
SAID_OF_EVERY_STUDY = {"90", "95", "3"}


def numbers(content: Any) -> Iterator[float]:
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from numbers(value)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield content


def shown(value: float) -> set[str]:
    return {
        f"{one:{form}}"
        for one in (value, abs(value), 100 * value)
        for form in (".0f", ".2f", ".3f", ".4f", "g", ".3g", ".1e")
    }


def unknown(folder: RunFolder) -> list[str]:
    """Numbers in the tables and answers of `report.md` that are not in `report.json`."""
    content = json.loads((folder.path / "report.json").read_text(encoding="utf-8"))
    text = (folder.path / "report.md").read_text(encoding="utf-8")
    known = set[str]().union(SAID_OF_EVERY_STUDY, *map(shown, numbers(content)))
    lines = text[: text.index("## Conventions")].splitlines()
    cells = [cell for line in lines if line.startswith("|") for cell in line.split("|")[2:]]
    found = [number.replace("−", "-") for cell in cells for number in NUMBER.findall(cell)]
    assert len(found) > 80
    return [number for number in found if number not in known]


def study(path: Path) -> RunFolder:
    settings = small_settings(seeds=4)
    return filled_folder(path, settings, diverged=[("mlp", "torch", 1)])


def test_every_number_of_the_tables_is_in_the_json_file(tmp_path: Path) -> None:
    folder = study(tmp_path / "run")
    write(folder)
    assert unknown(folder) == []


def test_a_number_that_is_not_in_the_json_file_is_noticed(tmp_path: Path) -> None:
    folder = study(tmp_path / "run")
    write(folder)
    page = folder.path / "report.md"
    page.write_text("| mlp | 0.7531 |\n" + page.read_text(encoding="utf-8"), encoding="utf-8")
    assert unknown(folder) == ["0.7531"]


def test_a_run_that_lacks_a_number_is_counted_and_never_averaged(tmp_path: Path) -> None:
    settings = small_settings(seeds=4, variants=("mlp",))
    folder = filled_folder(tmp_path / "run", settings)
    file = folder.path / "records.jsonl"
    runs = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    runs[1]["final"]["test_accuracy"] = None
    runs[6]["history"]["test_loss"][2] = None
    lost = {(runs[k]["framework"], runs[k]["seed"]) for k in (1, 6)}
    assert lost == {("keras", 1), ("torch", 2)}
    file.write_text("".join(json.dumps(run) + "\n" for run in runs), encoding="utf-8")
    write(folder)
    text = (folder.path / "report.json").read_text(encoding="utf-8")
    content = json.loads(text, parse_constant=pytest.fail)
    assert [row["diverged"] for row in content["rows"]] == [1, 1]
    assert [len(row["test_accuracies"]) for row in content["rows"]] == [3, 3]
    assert [pair["n"] for pair in content["pairs"]] == [2, 2, content["pairs"][2]["n"], 2]
    assert content["pairs"][0]["diverged"] == ["mlp-torch-2", "mlp-keras-1"]
    assert any("mlp Keras (seed 1); mlp Lightning (seed 2)" in w for w in content["warnings"])
    assert "nan" not in (folder.path / "results.csv").read_text(encoding="utf-8")


def test_fewer_than_three_pairs_give_a_reason_and_no_interval(tmp_path: Path) -> None:
    settings = small_settings(seeds=4, variants=("mlp",))
    folder = empty_folder(tmp_path / "run", settings)
    for framework, seeds in (("keras", (0, 1, 2)), ("torch", (1, 2, 3))):
        for seed in seeds:
            run = record(settings, "mlp", framework, seed)
            run["final"]["test_accuracy"] += 0.002 * seed if framework == "torch" else 0.0
            folder.append(run, arrays(settings, framework, seed))
    write(folder)
    content = json.loads((folder.path / "report.json").read_text(encoding="utf-8"))
    first = content["pairs"][0]
    assert (first["n"], first["low"], first["high"], first["method"]) == (2, None, None, "")
    assert first["verdict"] == "refused"
    assert first["missing"] == ["mlp-torch-0", "mlp-keras-3"]
    for name in ("report.md", "report.html"):
        page = (folder.path / name).read_text(encoding="utf-8")
        assert "no interval from fewer than 3 pairs" in page
        assert "Missing runs: mlp Keras (seed 3); mlp Lightning (seed 0)." in page
        assert "Not judged: final test accuracy" in page


def test_who_is_first_is_on_both_pages_and_in_the_json_file(tmp_path: Path) -> None:
    folder = study(tmp_path / "run")
    write(folder)
    content = json.loads((folder.path / "report.json").read_text(encoding="utf-8"))
    assert [race["together"] for race in content["races"]] == [3, 4]
    for name in ("report.md", "report.html"):
        page = (folder.path / name).read_text(encoding="utf-8")
        assert "together in 3 of 3 seeds" in page
        assert "together in 4 of 4 seeds" in page
        assert "no p-value" in page


def test_one_framework_alone_has_no_race(tmp_path: Path) -> None:
    folder = filled_folder(tmp_path / "run", small_settings(frameworks=("torch",)))
    write(folder)
    page = (folder.path / "report.md").read_text(encoding="utf-8")
    assert "who is first" not in page


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(tmp_path: Path, enabled: bool) -> None:
    was = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        with pytest.raises(RunFolderError):
            write(empty_folder(tmp_path / "run", small_settings()))
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if was else gc.disable()
