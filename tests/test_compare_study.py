"""The main job, end to end: real processes, real training, a real run folder."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from tolerances import PACES

from compare.distances import distances, weight_gap
from compare.records import CLOCKS, RunFolder, run_name
from compare.runs import Run
from compare.spec import Settings
from compare.stats import differences, rows
from compare.study import default_path, plan, run_study
from compare.timing_pass import EPOCHS

SETTINGS = Settings(
    variants=("mlp-bn-after", "lstm"), epochs=2, seeds=2, dtype="float64", pace="fast"
)


def quiet(run, epoch):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small study; the tests read it and leave it as it is."""
    path = tmp_path_factory.mktemp("a") / "study"
    return run_study(SETTINGS, path, progress=quiet, say=lambda text: None)


def test_frameworks_alternate():
    runs = list(plan(SETTINGS))
    assert [run.framework for run in runs] == ["keras", "torch"] * 4
    assert runs[0] == Run("mlp-bn-after", "keras", 0)
    assert len(set(runs)) == 8


def test_a_study_leaves_a_record_and_arrays_of_every_run(folder):
    again = RunFolder.open(folder.path)
    records = again.records()
    assert {Run(r["variant"], r["framework"], r["seed"]) for r in records} == set(plan(SETTINGS))
    for record in records:
        arrays = again.arrays(record)
        assert {"output/kernel", "test_probability", "grid_probability"} <= set(arrays)
    assert all(d.weights <= 1e-14 and d.seeds == 2 for d in differences(distances(again, records)))


def test_a_timing_pass_closes_the_fast_pace(folder):
    timings = RunFolder.open(folder.path).timings()
    turns = [("keras", 1), ("torch", 1), ("torch", 2), ("keras", 2)]
    found = [(t["variant"], t["framework"], t["repetition"]) for t in timings]
    assert found == [(variant, *turn) for variant in SETTINGS.variants for turn in turns]
    assert all(len(t["epoch_seconds"]) == EPOCHS - 1 for t in timings)
    assert min(min(t["epoch_seconds"]) for t in timings) > 0
    assert all(row.epoch_seconds_median > 0 for row in rows(folder.records(), timings))
    assert all(row.epoch_seconds_median is None for row in rows(folder.records()))


def test_the_manifest_tells_what_ran_where(folder):
    manifest = json.loads((folder.path / "manifest.json").read_text())
    assert Settings.from_dict(manifest["settings"]) == SETTINGS
    assert manifest["data_digest"] == folder.records()[0]["digests"]["data"]
    assert manifest["keras_backend"] == "tensorflow"
    assert manifest["hardware"]["accelerator"] == {"keras": "cpu", "torch": "cpu"}
    assert all(manifest["versions"][p] for p in ("keras", "tensorflow", "torch", "lightning"))
    assert manifest["threads"] == 1


def test_the_same_command_twice_gives_the_same_records(folder, tmp_path):
    settings = Settings.from_dict({**SETTINGS.to_dict(), "variants": ["mlp-bn-after"]})
    again = run_study(settings, tmp_path / "again", progress=quiet).records()
    first = [r for r in folder.records() if r["variant"] == "mlp-bn-after"]
    for record in (*first, *again):
        del record["settings"]["variants"]
        for clock in CLOCKS:
            del record[clock]
    assert first == again


def test_both_paces_make_the_same_study(folder, tmp_path):
    settings = replace(SETTINGS, variants=("mlp-bn-after",), seeds=1, pace="idiomatic")
    slow = run_study(settings, tmp_path / "slow", progress=quiet, say=pytest.fail)
    for record in slow.records():
        (fast,) = (r for r in folder.records() if run_name(r) == run_name(record))
        assert set(fast) == set(record)
        assert fast["epoch_seconds"] is None
        assert len(record["epoch_seconds"]) == 2
        assert fast["epochs_to_target"] == record["epochs_to_target"]
        arrays = slow.arrays(record), folder.arrays(fast)
        assert weight_gap(*arrays) <= PACES


def test_default_path_never_names_an_existing_folder(tmp_path):
    first = default_path(tmp_path)
    first.mkdir()
    assert not default_path(tmp_path).exists()


AS_FROM_A_TERMINAL = """
import signal
# A shell that runs the tests in the background has its children ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from compare.cli import main
main()
"""


def gone_within(seconds, group):
    """Whether no process of a group is left after some seconds at most."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("arguments", "until", "kept"),
    [
        (
            "run --pace idiomatic --variants mlp --frameworks torch --epochs 3",
            "[2/",
            "records.jsonl",
        ),
        ("run --variants mlp,cnn --epochs 50", "mlp Keras seed 49", "records.jsonl"),
        ("parity --variants mlp --epochs 3", "[6/", "parity.json"),
    ],
)
def test_ctrl_c_keeps_what_was_finished(tmp_path, arguments, until, kept):
    """Ctrl-C amid a study: exit 130, every process gone, what was finished readable."""
    out = tmp_path / "study"
    command = [sys.executable, "-c", AS_FROM_A_TERMINAL, *arguments.split()]
    process = subprocess.Popen(
        [*command, "--seeds", "50", "--out", str(out)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        for line in process.stderr:
            if until in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 130
    assert stdout == ""
    assert "saved" in stderr
    assert "Traceback" not in stderr
    assert gone_within(2.0, process.pid)
    if kept == "parity.json":
        assert len(json.loads((out / kept).read_text())["pairs"]) >= 2
    else:
        assert f"bn-compare report {out}" in stderr
        assert len(RunFolder.open(out).records()) >= 2
