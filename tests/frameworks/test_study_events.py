"""TensorBoard event files: what a study writes beside its records."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from event_files import curves
from in_process import Here
from interrupted import interrupted

from compare.errors import InputError, RunFolderError
from compare.spec import Run, Settings
from compare.study import run as study
from compare.study import train
from compare.study.events import check_events, folder_of, tagged
from compare.study.records import CLOCKS, RunFolder, run_name
from compare.study.run import plan, run_study

SETTINGS = Settings(variants=("mlp", "mlp-bn-after"), epochs=3, dtype="float64")
RUNS = list(plan(SETTINGS))


class Process(Here):
    """A worker in this process."""

    def __init__(self, name, settings):
        super().__init__(name, settings.dtype)
        self.settings = settings

    def ready(self):
        return {"accelerator": "cpu"}

    def run(self, run, on_epoch, *, events):
        job = partial(train.execute, run, self.settings, events=events)
        return self.call(job, on_epoch)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass


def quiet(run, epoch):
    pass


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A small study with event files in `events`; the tests read it and leave it as it is."""
    root = tmp_path_factory.mktemp("a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "Worker", Process)
        run_study(SETTINGS, root / "study", progress=quiet, events=root / "deep" / "events")
    return root


def test_every_run_has_the_curves_of_its_record(root):
    events = root / "deep" / "events"
    records = RunFolder.open(root / "study").records()
    assert {path.name for path in events.iterdir()} == {run_name(record) for record in records}
    for record in records:
        found = curves(events / run_name(record))
        assert set(found) == set(tagged(record["history"]))
        for tag, history in tagged(record["history"]).items():
            steps, values = zip(*found[tag], strict=True)
            assert steps == (1, 2, 3)
            assert np.array_equal(values, np.float32(history))


def test_both_frameworks_write_the_same_tags(root):
    keras, torch = (
        curves(folder_of(Run("mlp-bn-after", name, 0), root / "deep" / "events"))
        for name in ("keras", "torch")
    )
    assert list(keras) == list(torch)
    assert set(keras) == {
        *("loss/train", "loss/test", "loss/running_train"),
        *("accuracy/train", "accuracy/test", "accuracy/running_train"),
        "accuracy/batch_statistics_test",
    }


def test_a_study_is_the_same_without_them(root, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "Worker", Process)
    plain = run_study(SETTINGS, tmp_path / "plain", progress=quiet)
    logged = RunFolder.open(root / "study")
    assert len(plain.records()) == len(logged.records()) == len(RUNS)
    for one, other in zip(plain.records(), logged.records(), strict=True):
        arrays = plain.arrays(one), logged.arrays(other)
        assert all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])
        assert {k: v for k, v in one.items() if k not in CLOCKS} == {
            k: v for k, v in other.items() if k not in CLOCKS
        }
    assert plain.manifest["settings"] == logged.manifest["settings"]


def test_writing_is_off_the_clock(framework_name, framework, tmp_path, monkeypatch):
    """On a clock that only writing advances, epochs take no time."""
    now, written = [0.0], []

    class Slow:
        def write(self, epoch, values):
            written.append(epoch)
            now[0] += 60.0

        def close(self):
            written.append("closed")

    monkeypatch.setattr(train.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(framework, "event_log", lambda handle, folder: Slow())
    run = Run("mlp", framework_name, 0)
    outcome = train.execute(run, SETTINGS, framework, events=tmp_path)
    assert written == [1, 2, 3, "closed"]
    assert outcome.record["epoch_seconds"] == [0.0] * 3


def test_a_run_that_diverges_is_written_too(framework_name, framework, tmp_path):
    run = Run("mlp", framework_name, 0)
    settings = replace(SETTINGS, learning_rate=1e300)
    assert train.execute(run, settings, framework, events=tmp_path).record["status"] == "diverged"
    found = curves(folder_of(run, tmp_path))["loss/test"]
    assert [step for step, _ in found] == [1, 2, 3]
    assert not math.isfinite(found[-1][1])


@pytest.mark.slow
def test_ctrl_c_leaves_what_was_written(tmp_path):
    arguments = "run --pace idiomatic --variants mlp --seeds 50 --epochs 3 --frameworks"
    for name in ("keras", "torch"):
        out = tmp_path / name
        where = "--out", out / "study", "--tensorboard", out / "events"
        left = interrupted(*arguments.split(), name, *where, until="[2/")
        assert (left.returncode, left.running) == (130, [])
        finished = {run_name(record) for record in RunFolder.open(out / "study").records()}
        lengths = {
            folder.name: len(curves(folder).get("loss/test", []))
            for folder in (out / "events").iterdir()
        }
        assert finished
        assert finished <= lengths.keys()
        assert all(lengths[run] == 3 for run in finished)


def test_tags_put_the_measure_first():
    assert tagged({"batch_statistics_test_accuracy": 0.5}) == {
        "accuracy/batch_statistics_test": 0.5
    }


def test_the_fast_pace_has_no_logger(tmp_path):
    with pytest.raises(InputError, match="--pace idiomatic, received --pace fast"):
        check_events(replace(SETTINGS, pace="fast"), tmp_path, RUNS)


def test_event_files_of_the_same_run_are_left_alone(tmp_path):
    taken = folder_of(RUNS[-1], tmp_path)
    folder_of(Run("cnn", "keras", 0), tmp_path).mkdir()
    taken.mkdir()
    check_events(SETTINGS, tmp_path, RUNS)
    (taken / "events.out.tfevents.1").touch()
    with pytest.raises(RunFolderError, match=f"{taken.name} is there already"):
        run_study(SETTINGS, tmp_path / "study", progress=quiet, events=tmp_path)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("below", ["file", "file/events"])
def test_a_file_is_no_folder(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="expected a folder, found a file"):
        check_events(SETTINGS, tmp_path / below, RUNS)


def test_a_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(RunFolderError, match="cannot write to"):
        check_events(SETTINGS, tmp_path / "new", RUNS)
