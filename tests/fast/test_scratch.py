"""Folders of a check are removed, also those that a killed process has left."""

import subprocess
import sys
from pathlib import Path

import pytest

from compare import scratch
from compare.scratch import scratch_folder

LEAVE = """
import os, signal
from compare.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "0.npy").write_bytes(bytes(100))
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(scratch.tempfile, "tempdir", None)


def test_what_a_killed_process_left_is_removed_by_the_next():
    killed = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, text=True)
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    with scratch_folder():
        assert not left.exists()


def test_what_a_running_process_uses_is_left_alone():
    with scratch_folder() as outer, scratch_folder() as inner:
        assert outer.is_dir()
        assert inner.is_dir()
    assert not outer.exists()


def test_folders_of_others_are_left_alone(tmp_path):
    other = tmp_path / "bn-compare-another-machine-1-abc"
    other.mkdir()
    with scratch_folder():
        assert other.is_dir()
