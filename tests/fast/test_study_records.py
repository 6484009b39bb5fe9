import json
import os

import numpy as np
import pytest

from compare.errors import RunFolderError
from compare.spec import Settings
from compare.study.records import RunFolder

RECORD = {
    "variant": "mlp",
    "framework": "keras",
    "seed": 0,
    "alignment": "exact",
    "pace": "idiomatic",
    "dtype": "float32",
    "status": "ok",
    "final": {},
    "history": {},
    "epochs_to_target": None,
}
PROBABILITIES = {"test_probability": np.zeros(2), "grid_probability": np.zeros(2)}


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "study", {"settings": Settings().to_dict()})


def test_what_is_saved_is_read_back(folder):
    arrays = {"hidden/kernel": np.arange(6.0).reshape(2, 3), **PROBABILITIES}
    folder.append(RECORD, arrays)
    again = RunFolder.open(folder.path)
    assert again.records() == [RECORD]
    assert np.array_equal(again.arrays(RECORD)["hidden/kernel"], arrays["hidden/kernel"])
    assert again.settings == Settings()


def test_records_come_in_the_order_of_the_settings(folder):
    wanted = [("mlp", "keras", 0), ("mlp", "keras", 1), ("mlp", "torch", 0), ("lstm", "keras", 0)]
    for variant, framework, seed in (wanted[i] for i in (3, 2, 1, 0)):
        folder.append({**RECORD, "variant": variant, "framework": framework, "seed": seed}, {})
    assert [(r["variant"], r["framework"], r["seed"]) for r in folder.records()] == wanted


def test_timings_are_read_back_and_none_are_needed(folder):
    assert folder.timings() == []
    timing = {"variant": "mlp", "framework": "keras", "epoch_seconds": [0.5]}
    folder.append_timing(timing)
    assert RunFolder.open(folder.path).timings() == [timing]
    with (folder.path / "timings.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(RunFolderError, match=r"timings.jsonl, line 2.*variant"):
        folder.timings()


def test_a_line_cut_by_an_interruption_is_left_out(folder):
    folder.append(RECORD, {})
    with (folder.path / "records.jsonl").open("a") as file:
        file.write('{"variant": "ml')
    assert folder.records() == [RECORD]


@pytest.mark.parametrize("line", ["{", "[]", '{"variant": "mlp"}', "null"])
def test_a_corrupt_line_is_named(folder, line):
    folder.append(RECORD, {})
    with (folder.path / "records.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunFolderError, match=r"records.jsonl, line 2"):
        folder.records()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"\x93NUMPY"])
def test_corrupt_arrays_are_named(folder, content):
    folder.append(RECORD, {})
    (folder.path / "weights" / "mlp-keras-0.npz").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"mlp-keras-0.npz"):
        folder.arrays(RECORD)


def test_arrays_without_probabilities_are_refused(folder):
    folder.append(RECORD, {"test_probability": np.zeros(2)})
    with pytest.raises(RunFolderError, match=r"mlp-keras-0.npz: expected.*'grid_probability'"):
        folder.arrays(RECORD)


def test_pickles_are_refused(folder):
    np.savez(folder.path / "weights" / "mlp-keras-0.npz", evil=np.array([{}], dtype=object))
    with pytest.raises(RunFolderError, match="cannot be read"):
        folder.arrays(RECORD)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "not written by bn-compare"),
        ('{"format": "mlflow"}', "not written by bn-compare"),
        (
            '{"format": "bn-compare run folder", "format_version": 99, "settings": {}}',
            "version 1, received 99",
        ),
        ('{"format": "bn-compare run folder", "format_version": 1}', "unusable settings"),
        (
            '{"format": "bn-compare run folder", "format_version": 1, "settings": {"x": 1}}',
            "unknown setting 'x'",
        ),
    ],
)
def test_foreign_folders_are_refused(folder, manifest, message):
    (folder.path / "manifest.json").write_text(manifest)
    with pytest.raises(RunFolderError, match=message):
        RunFolder.open(folder.path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"expected manifest.json"):
        RunFolder.open(tmp_path / "nothing")


def test_nothing_saved_is_overwritten(folder):
    with pytest.raises(RunFolderError, match="not empty"):
        RunFolder.create(folder.path, {})
    file = folder.path / "manifest.json"
    with pytest.raises(RunFolderError, match="found a file"):
        RunFolder.create(file, {})
    assert json.loads(file.read_text())["format"] == "bn-compare run folder"


def test_an_unwritable_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(RunFolderError, match="cannot write"):
        RunFolder.create(tmp_path / "a" / "b", {})
    assert not (tmp_path / "a").exists()


def test_nan_cannot_be_saved_as_a_number(folder):
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.append({**RECORD, "final": {"test_loss": float("nan")}}, {})
