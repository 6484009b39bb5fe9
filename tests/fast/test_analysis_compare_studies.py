from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from report_folder import filled_folder, small_settings
from typer.testing import CliRunner

from compare.analysis.compare_studies import versus
from compare.cli import app
from compare.errors import InputError
from compare.report.tables import changes
from compare.report.tables import versus_lines as lines
from compare.study.records import RunFolder


def study(path: Path, **settings: Any) -> RunFolder:
    return filled_folder(path, small_settings(**{"seeds": 4, "variants": ("mlp",), **settings}))


def shifted(folder: RunFolder, by: float) -> RunFolder:
    """The same study with other test accuracies, by a little more for every run."""
    file = folder.path / "records.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    for place, run in enumerate(records):
        run["final"]["test_accuracy"] += by * (1 + 0.01 * place)
    file.write_text("".join(json.dumps(run) + "\n" for run in records))
    return RunFolder.open(folder.path)


def test_a_study_is_identical_to_itself(tmp_path: Path) -> None:
    first, second = study(tmp_path / "a"), study(tmp_path / "b")
    found = versus(first, second)
    assert [(one.first.variant, one.framework) for one in found] == [
        ("mlp", "keras"),
        ("mlp", "torch"),
    ]
    assert {c.verdict for one in found for c in one.comparisons} == {"identical"}
    assert {one.probability for one in found} == {0.0}


def test_another_accuracy_is_told_with_its_sign(tmp_path: Path) -> None:
    found = versus(study(tmp_path / "a"), shifted(study(tmp_path / "b"), -0.1))
    (line, _) = lines(found)
    assert line[4].startswith("−0.10")
    assert line[5] == "different"


def test_what_only_one_study_has_is_left_out(tmp_path: Path) -> None:
    first = study(tmp_path / "a", frameworks=("torch",), seeds=3)
    second = study(tmp_path / "b", variants=("mlp-bn-after", "mlp"))
    (one,) = versus(first, second)
    assert (one.first.variant, one.framework) == ("mlp", "torch")
    assert [c.n for c in one.comparisons] == [3] * 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epochs": 7}, "epochs: expected 6, received 7"),
        ({"learning_rate": 0.5}, "learning_rate: expected 0.01, received 0.5"),
        ({"dtype": "float64"}, "dtype: expected 'float32', received 'float64'"),
        ({"data_seed": 2}, "trained on other data"),
        ({"variants": ("cnn",)}, "expected one of mlp keras, mlp torch, received cnn keras"),
    ],
)
def test_what_does_not_match_is_refused(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        versus(study(tmp_path / "a"), study(tmp_path / "b", **settings))
    assert "\n" not in str(caught.value)


def test_versions_and_hardware_that_differ_are_named() -> None:
    first = {"versions": {"torch": "2.7.1", "keras": "3.1"}, "hardware": {"cores": 2}}
    second = {"versions": {"torch": "2.8.0", "keras": "3.1"}, "hardware": {"cores": 4}}
    assert changes(first, second) == ["torch: 2.7.1 → 2.8.0", "cores: 2 → 4"]
    assert changes(first, first) == []


def test_the_command_compares_each_with_the_first(tmp_path: Path) -> None:
    for name in "abc":
        study(tmp_path / name)
    paths = [str(tmp_path / name) for name in "abc"]
    done = CliRunner().invoke(app, ["report", *paths, "--json"])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)["comparisons"]
    assert [one["second"] for one in content] == paths[1:]
    assert content[0]["rows"][0]["pairs"][0]["verdict"] == "identical"
    assert "identical" in CliRunner().invoke(app, ["report", *paths]).stdout
    assert not (tmp_path / "a" / "report.html").exists()
