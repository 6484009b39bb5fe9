"""What the README tells a user to type works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from compare.spec import VARIANTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.*?)(?:\s+#.*)?$", README, flags=re.MULTILINE)


def test_the_table_has_every_variant():
    assert re.findall(r"^\| ((?:mlp|cnn|lstm)\S*) \|", README, flags=re.MULTILINE) == list(VARIANTS)


def test_make_targets_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = [c.split()[1] for c in COMMANDS if c.startswith("make")]
    assert {"compare", "test"} <= set(named) <= set(targets)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("bn-compare")])
def test_options_exist(command):
    arguments = [sys.executable, "-m", "compare", *command.split()[1:], "--help"]
    assert subprocess.run(arguments, capture_output=True).returncode == 0
    options = set(re.findall(r"--[a-z-]+", command))
    text = subprocess.run(arguments, capture_output=True, text=True).stdout
    assert all(option in text for option in options)


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
def test_snippets_run(code):
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_pictures_exist():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file()
