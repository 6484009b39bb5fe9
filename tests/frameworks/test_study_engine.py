"""Real processes: each test starts one, and ends it."""

import os
import signal

import pytest

from compare.errors import MissingDependencyError, WorkerError
from compare.spec import Run, Settings
from compare.study.workers import Worker, _without_notes

SETTINGS = Settings(variants=("mlp",), epochs=2)


def test_a_run_is_executed_over_there():
    with Worker("torch", SETTINGS) as worker:
        assert set(worker.ready()) >= {"torch", "lightning", "accelerator"}
        epochs = []
        outcome = worker.run(Run("mlp", "torch", 0), epochs.append)
        assert epochs == [1, 2]
        assert outcome.record["dtype"] == "float32"
        process = worker._process
    assert not process.is_alive()
    assert process.exitcode == 0


def test_a_process_that_is_killed_is_noticed():
    with Worker("torch", Settings(variants=("mlp",), epochs=100_000)) as worker:
        worker.ready()
        pid = worker._process.pid

        def kill(epoch):
            if epoch == 1:
                os.kill(pid, signal.SIGKILL)

        with pytest.raises(WorkerError, match=r"torch process ended unexpectedly \(exit code -9\)"):
            worker.run(Run("mlp", "torch", 0), kill)


def test_what_a_framework_raises_is_told(capfd):
    with Worker("torch", SETTINGS) as worker:
        worker.ready()
        with pytest.raises(WorkerError, match="torch raised KeyError: 'resnet'"):
            worker.run(Run("resnet", "torch", 0), print)
    assert "Traceback" in capfd.readouterr().err


def test_a_framework_that_cannot_be_imported_is_told(tmp_path, monkeypatch):
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('libtorch.so is missing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    with (
        Worker("torch", SETTINGS) as worker,
        pytest.raises(MissingDependencyError, match=r"libtorch.so is missing.*bn-compare\[torch\]"),
    ):
        worker.ready()


NOTE, WARNING = "I0000 00:00 port.cc:153] oneDNN is on\n", "W0000 00:00 a.cc:1] careful\n"


def test_notes_are_dropped_and_warnings_are_not(capfd):
    with _without_notes():
        os.write(2, (NOTE + WARNING).encode())
    assert capfd.readouterr().err == WARNING


def test_everything_is_shown_when_the_start_fails(capfd):
    def start():
        with _without_notes():
            os.write(2, (NOTE + WARNING).encode())
            raise ImportError

    with pytest.raises(ImportError):
        start()
    assert capfd.readouterr().err == NOTE + WARNING
