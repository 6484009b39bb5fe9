import json
import subprocess
from pathlib import Path

import pytest

import compare
from compare import environment, schema
from compare.errors import InputError


def test_versions_name_what_is_absent(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    found = environment.versions()
    assert found["numpy"][0].isdigit()
    assert found["no-such-package"] is None


def test_hardware_is_this_machines():
    found = environment.hardware()
    assert found["cores"] >= 1
    assert found["cpu"]
    assert found["python"].startswith("3.")


def test_commit_is_of_the_tree_that_tracks_us(monkeypatch, tmp_path):
    root = Path(compare.__file__).parent.parent
    tracked = subprocess.run(
        ["git", "-C", str(root), "ls-files", "compare/environment.py"],
        capture_output=True,
        text=True,
    )
    commit = environment.git_commit()
    assert (commit is not None) is bool(tracked.stdout)
    foreign = tmp_path / "environment.py"
    foreign.touch()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(environment, "__file__", str(foreign))
    assert environment.git_commit() is None


@pytest.mark.parametrize(
    ("content", "kind", "name"),
    [
        (environment.hardware(), environment.Hardware, "memory_bytes"),
        (environment.versions(), environment.Versions, "torch"),
    ],
)
def test_what_is_written_of_a_machine_can_be_read_back(content, kind, name):
    read = schema.convert(json.loads(json.dumps(content)), kind, "file")
    assert read.items() <= content.items()
    less = {k: v for k, v in content.items() if k != name}
    with pytest.raises(InputError, match=f"file: expected a field '{name}'"):
        schema.convert(less, kind, "file")
