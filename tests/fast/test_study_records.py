import json
import os
from pathlib import Path

import numpy as np
import pytest
import report_folder

from compare.errors import RunFolderError
from compare.spec import Settings
from compare.study.records import RunFolder

RECORD = report_folder.record(Settings(epochs=3), "mlp", "keras", 0)
DIVERGED = report_folder.record(Settings(epochs=3), "mlp-bn-after", "torch", 1, diverged=True)
PROBABILITIES = {"test_probability": np.zeros(2), "grid_probability": np.zeros(2)}


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "study", {"settings": Settings().to_dict()})


def test_what_is_saved_is_read_back(folder):
    arrays = {"hidden/kernel": np.arange(6.0).reshape(2, 3), **PROBABILITIES}
    folder.append(RECORD, arrays)
    folder.append(DIVERGED, PROBABILITIES)
    again = RunFolder.open(folder.path)
    assert again.records() == [RECORD, DIVERGED]
    assert list(again.arrays(RECORD)) == list(arrays)
    assert np.array_equal(again.arrays(RECORD)["hidden/kernel"], arrays["hidden/kernel"])
    assert again.arrays(RECORD)["hidden/kernel"].dtype == np.float64
    assert list(again.arrays(RECORD, plane=False)) == ["hidden/kernel", "test_probability"]
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
    with pytest.raises(RunFolderError, match=r"timings.jsonl:2: .*'variant'"):
        folder.timings()


def test_a_line_cut_by_an_interruption_is_left_out(folder):
    folder.append(RECORD, {})
    with (folder.path / "records.jsonl").open("a") as file:
        file.write('{"variant": "ml')
    assert folder.records() == [RECORD]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", r"expected an object, received \[\]"),
        ("null", "expected an object"),
        ('{"variant": "mlp"}', "expected a field 'framework', found none"),
    ],
)
def test_a_corrupt_line_is_named(folder, line, message):
    folder.append(RECORD, {})
    with (folder.path / "records.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunFolderError, match=f"records.jsonl:2: {message}"):
        folder.records()


def changed(path, value):
    """The record with another value at a path such as `final.test_accuracy`."""
    *outer, last = path.split(".")
    record = json.loads(json.dumps(RECORD))
    inner = record
    for name in outer:
        inner = inner[name]
    inner[last] = value
    return record


ACCURACY = RECORD["history"]["test_accuracy"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("variant", 3, r"\$.variant: expected text, received 3"),
        ("variant", "../../out/mlp", r"\$.variant: expected text matching regex"),
        ("framework", "jax", r"\$.framework: expected a name that this version knows"),
        ("seed", -1, r"\$.seed: expected a whole number ≥ 0, received -1"),
        ("seed", "0", r"\$.seed: expected a whole number, received '0'"),
        ("status", "fine", r"\$.status: .* received 'fine'"),
        ("final", [], r"\$.final: expected an object"),
        ("final.test_accuracy", 7.0, r"\$.final.test_accuracy: expected a number ≤ 1.0"),
        ("final.test_accuracy", -5, r"\$.final.test_accuracy: expected a number ≥ 0.0"),
        ("final.test_accuracy", True, r"\$.final.test_accuracy: expected a number or null"),
        ("final.test_accuracy", 10**400, r"\$.final.test_accuracy: number out of range"),
        ("final.test_loss", 1e308, r"\$.final.test_loss: expected a number ≤ 37"),
        ("final", {"test_accuracy": 0.5}, r"\$.final: expected a field 'train_loss'"),
        ("history.test_accuracy", [0.5, "x", 1], r"\$.history.test_accuracy\[1\]: expected"),
        ("history.test_accuracy", ACCURACY[1:], r"\$.history: expected curves of one length"),
        ("epochs_to_target", 0, r"\$.epochs_to_target: expected a whole number ≥ 1, received 0"),
        ("epochs_to_target", 4, r"\$.epochs_to_target: expected no more than the epochs"),
        ("epoch_seconds", [-1.0], r"\$.epoch_seconds\[0\]: expected a number ≥ 0"),
        ("digests", {"data": 3}, r"\$.digests\[...\]: expected text"),
    ],
)
def test_what_no_run_leaves_is_named_with_its_place(folder, path, value, message):
    folder.append(RECORD, {})
    with (folder.path / "records.jsonl").open("a") as file:
        file.write(json.dumps(changed(path, value)) + "\n")
    with pytest.raises(RunFolderError, match=f"records.jsonl:2: {message}") as caught:
        folder.records()
    assert "\n" not in str(caught.value)


def test_a_newer_versions_variant_and_fields_are_read(folder):
    newer = {**RECORD, "variant": "mlp-layer-norm", "peak_rss_bytes": 1}
    folder.append(newer, {})
    assert folder.records() == [{**RECORD, "variant": "mlp-layer-norm"}]


def test_records_of_the_version_before_are_read():
    study = Path(__file__).parents[2] / "docs" / "study"
    folder = RunFolder.open(study)
    lines = (study / "records.jsonl").read_text(encoding="utf-8").splitlines()
    records = folder.records()
    key = json.dumps
    assert sorted(map(key, records)) == sorted(key(json.loads(line)) for line in lines)
    assert len(folder.timings()) == 40
    run = {"variant": "mlp-bn-after", "framework": "keras", "seed": 0}
    assert folder.arrays_file(run).suffix == ".npz"
    assert next(iter(folder.arrays(run, plane=False))) == "hidden/kernel"
    assert folder.arrays(run)["grid_probability"].size == 61**2


WEIGHTS = "weights/mlp-keras-0"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"\x93NUMPY", b"\x08" * 20])
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_corrupt_arrays_are_named(folder, content, suffix):
    (folder.path / f"{WEIGHTS}.{suffix}").write_bytes(content)
    with pytest.raises(RunFolderError, match=rf"mlp-keras-0\.{suffix}: cannot be read") as caught:
        folder.arrays(RECORD)
    assert "\n" not in str(caught.value)


def test_missing_arrays_are_named(folder):
    with pytest.raises(RunFolderError, match=r"mlp-keras-0\.safetensors: cannot be read"):
        folder.arrays(RECORD)


def test_any_flipped_bit_is_noticed(folder):
    folder.append(RECORD, {"hidden/kernel": np.ones((2, 3), np.float32), **PROBABILITIES})
    file = folder.path / f"{WEIGHTS}.safetensors"
    content = file.read_bytes()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        file.write_bytes(flipped)
        with pytest.raises(RunFolderError, match=r"mlp-keras-0\.safetensors: "):
            folder.arrays(RECORD)


def test_a_flipped_bit_of_an_earlier_versions_arrays_is_noticed(folder):
    file = folder.path / f"{WEIGHTS}.npz"
    np.savez_compressed(file, **PROBABILITIES, kernel=np.random.default_rng(0).normal(size=100))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"mlp-keras-0\.npz: cannot be read"):
        folder.arrays(RECORD)


def test_arrays_without_probabilities_are_refused(folder):
    folder.append(RECORD, {"test_probability": np.zeros(2)})
    message = r"mlp-keras-0\.safetensors: expected.*'grid_probability'"
    with pytest.raises(RunFolderError, match=message):
        folder.arrays(RECORD)


def test_pickles_are_refused(folder):
    np.savez(folder.path / f"{WEIGHTS}.npz", evil=np.array([{}], dtype=object))
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
        ('{"format": "bn-compare run folder", "format_version": 1}', "expected a field 'settings'"),
        (
            '{"format": "bn-compare run folder", "format_version": 1, "settings": {"x": 1}}',
            "unknown setting 'x'",
        ),
        (
            '{"format": "bn-compare run folder", "format_version": 1, "settings": {"seeds": 0}}',
            r"manifest.json: settings: \$.seeds: expected a whole number ≥ 1, received 0",
        ),
        (
            '{"format": "bn-compare run folder", "format_version": 1, "settings": '
            '{"variants": [3]}}',
            r"settings: \$.variants\[0\]: expected text, received 3",
        ),
        (
            '{"format": "bn-compare run folder", "format_version": 1, "settings": {}, '
            '"versions": []}',
            r"\$.versions: expected an object, received \[\]",
        ),
        (
            '{"format": "bn-compare run folder", "format_version": 1, "settings": {}, '
            '"hardware": {"cpu": 3}}',
            r"\$.hardware.cpu: expected text, received 3",
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
