"""The main job, end to end: real processes, real training, a real run folder."""

import json
import subprocess
from dataclasses import replace

import pytest
from interrupted import interrupted, running
from tolerances import PACES

from compare.analysis.frames import differences, distances, weight_gap
from compare.analysis.summary import rows
from compare.spec import Run, Settings
from compare.study.records import CLOCKS, RunFolder, run_name
from compare.study.run import EPOCHS, default_path, plan, run_study

SETTINGS = Settings(
    variants=("mlp-bn-after", "mlp"), epochs=2, seeds=2, dtype="float64", pace="fast"
)


def quiet(run, epoch):
    pass


@pytest.fixture(scope="session")
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


@pytest.mark.slow
def test_the_same_command_twice_gives_the_same_records(folder, tmp_path):
    settings = Settings.from_dict({**SETTINGS.to_dict(), "variants": ["mlp-bn-after"]})
    again = run_study(settings, tmp_path / "again", progress=quiet).records()
    first = [r for r in folder.records() if r["variant"] == "mlp-bn-after"]
    for record in (*first, *again):
        del record["settings"]["variants"]
        for clock in CLOCKS:
            del record[clock]
    assert first == again


@pytest.mark.slow
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


def test_a_process_that_outlives_ctrl_c_is_seen():
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        assert running(sleeper.pid, within=0.2) == [f"{sleeper.pid} sleeping: sleep 60"]
    finally:
        sleeper.kill()
        sleeper.wait()
    assert running(sleeper.pid, within=2.0) == []


@pytest.mark.parametrize(
    ("arguments", "until", "kept"),
    [
        (
            "run --pace idiomatic --variants mlp --frameworks torch --epochs 3",
            "[2/",
            "records.jsonl",
        ),
        pytest.param(
            *("run --variants mlp,cnn --epochs 10", "mlp Keras seed 49", "records.jsonl"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("parity --variants mlp --epochs 2", "[5/", "parity.json"), marks=pytest.mark.slow
        ),
    ],
)
def test_ctrl_c_keeps_what_was_finished(tmp_path, arguments, until, kept):
    """Ctrl-C amid a study: exit 130, every process gone, what was finished readable."""
    out = tmp_path / "study"
    left = interrupted(*arguments.split(), "--seeds", "50", "--out", out, until=until)
    assert (left.returncode, left.stdout, left.running) == (130, "", [])
    assert "saved" in left.stderr
    assert "Traceback" not in left.stderr
    if kept == "parity.json":
        assert len(json.loads((out / kept).read_text())["pairs"]) >= 2
    else:
        assert f"bn-compare report {out}" in left.stderr
        assert len(RunFolder.open(out).records()) >= 2


def test_ctrl_c_while_the_report_is_written_tells_where_the_runs_are(folder, monkeypatch, capsys):
    from compare.cli import app
    from compare.report import pages

    def interrupted(study):
        raise KeyboardInterrupt

    monkeypatch.setattr(pages, "write", interrupted)
    monkeypatch.setattr("compare.study.run.run_study", lambda *_, **__: folder)
    assert app(["run", "--out", str(folder.path)], standalone_mode=False) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "interrupted: 8 finished runs are saved" in captured.err
    assert f"bn-compare report {folder.path}" in captured.err
