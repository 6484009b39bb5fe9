"""What the README tells a user to type works."""

import inspect
import re
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import fragments
import pytest
from cogapp import Cog
from matplotlib.testing.compare import compare_images

from compare.commands import study, time
from compare.spec import VARIANTS
from compare.study.records import RunFolder
from compare.timing.records import TimingRecords

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.*?)(?:\s+#.*)?$", README, flags=re.MULTILINE)


def test_the_table_has_every_variant():
    assert re.findall(r"^\| ((?:mlp|cnn|lstm)\S*) \|", README, flags=re.MULTILINE) == list(VARIANTS)


DOCS = ROOT / "docs"
KEPT = (*(DOCS / "study").glob("*.json*"), *DOCS.glob("*.json"))
PAGES = ("README.md", "docs/conventions.md")


def test_the_numbers_are_those_of_the_records():
    with chdir(ROOT):
        assert Cog().main(["cog", "-P", "-I", "docs", "--check", *PAGES]) == 0


def test_a_number_that_is_not_the_records_is_seen(tmp_path):
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(page.replace("| 0.847", "| 0.848", 1), encoding="utf-8")
    with chdir(tmp_path):
        assert Cog().main(["cog", "-P", "-I", str(DOCS), "--check", "README.md"]) == 5


def test_the_figures_are_those_of_the_records(tmp_path):
    fragments.draw(tmp_path)
    drawn = list(tmp_path.glob("*.png"))
    assert len(drawn) == 4
    for picture in drawn:
        # The same numbers give the same pixels with the pinned versions; this much is left for the
        # last digit of a mean on another processor. A curve that is off by 0.001 differs by 2.2.
        assert compare_images(str(DOCS / picture.name), str(picture), tol=1.0) is None


def test_the_study_is_of_a_run_at_defaults():
    declared = inspect.signature(study.run).parameters
    settings = RunFolder.open(DOCS / "study").settings.to_dict()
    given = {name: declared[name].default for name in settings.keys() & declared.keys()}
    listed = {name: settings[name] for name in given}
    for name in ("variants", "frameworks", "undo", "epochs_ratio_margin"):
        listed[name] = ",".join(map(str, listed[name]))
    assert listed == given


def test_the_timing_is_at_defaults():
    declared = inspect.signature(time.time).parameters
    plan = TimingRecords.open(DOCS / "timing.json").plan.to_dict()
    options = {"variants", "repetitions", "epochs", "dtype", "threads", "tuned", "no_scaling"}
    given = {name: declared[name].default for name in {*options, "accelerator", "patience"}}
    listed = {**plan, "variants": ",".join(plan["variants"]), "no_scaling": not plan["scaling"]}
    assert {name: listed[name] for name in given} == given


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.name)
def test_the_records_name_no_folder_of_a_machine(file):
    text = file.read_text(encoding="utf-8")
    assert not re.search(r'"(/|~|[A-Z]:)|"command"', text)


def test_make_targets_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = [c.split()[1] for c in COMMANDS if c.startswith("make")]
    assert {"compare", "test"} <= set(named) <= set(targets)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("bn-compare")])
def test_options_exist(command):
    arguments = [sys.executable, "-m", "compare", *command.split()[1:], "--help"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0
    assert all(option in done.stdout for option in re.findall(r"--[a-z-]+", command))


SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("code", [code for code in SNIPPETS if "def test_" not in code])
def test_snippets_run(code):
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


CHANGES = {
    "as_shown": "nn.BatchNorm1d(16)",
    "half_mended": "nn.BatchNorm1d(16, eps=1e-3, momentum=1.0 - 0.99)",
    "mended": "BiasedBatchNorm(16, eps=1e-3, momentum=1.0 - 0.99)",
}


def unplaced(line):
    """A line without the element that differs most: weights are drawn anew each time."""
    return re.sub(r"\[\d+, \d+\] Keras [\d.e-]+, Torch [\d.e-]+", "[…]", line)


def test_the_example_test_fails_as_shown_and_passes_when_mended(tmp_path):
    (code,) = (code for code in SNIPPETS if "def test_" in code)
    for name, change in CHANGES.items():
        changed = code.replace("nn.BatchNorm1d(16)", change).replace(
            "def test_", f"def test_{name}_"
        )
        text = "from bn_torch import BiasedBatchNorm\n" + changed
        (tmp_path / f"test_{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    outcomes = re.findall(r"^(PASSED|FAILED) test_(\w+)\.py::", done.stdout, flags=re.MULTILINE)
    expected = {"as_shown": "FAILED", "half_mended": "FAILED", "mended": "PASSED"}
    assert {name: outcome for outcome, name in outcomes} == expected
    as_shown, half_mended = re.split(r"^_+ test_half_mended_", done.stdout, flags=re.MULTILINE)
    shown = re.search(r"```text\n(ParityError: .*?)```", README, flags=re.DOTALL)[1]
    first = re.findall(r"^E +(?:compare\.)?(.*)", as_shown, flags=re.MULTILINE)[:3]
    assert [unplaced(line) for line in first] == [unplaced(line) for line in shown.splitlines()]
    assert "Explained by bn-biased-variance" in half_mended
    assert "Explained by bn-biased-variance" not in as_shown


def test_pictures_exist():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file()


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README
