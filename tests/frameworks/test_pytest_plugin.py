"""The plugin as its users meet it: fixture, marker, report, and what a failure says first."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_pair import X, Y, keras_model, right_port

import compare

pytest_plugins = "pytester"

BEGIN = """
import pytest
from tiny_pair import X, Y, keras_model, right_port, stock_port
"""
TESTS = """
def test_right(parity):
    report = parity(keras_model, right_port, X, Y, weights_from="keras")
    assert report.passed

def test_wrong(parity):
    parity(keras_model, stock_port, X, Y, weights_from="keras")

@pytest.mark.parametrize("times", [1, 2])
def test_several(parity, times):
    for _ in range(times):
        parity(keras_model, right_port, X, weights_from="keras")
    assert times < 2, "once all agreed"

@pytest.fixture
def checked(parity):
    return parity(keras_model, right_port, X, weights_from="keras")

def test_in_a_fixture(checked):
    assert checked.passed

def test_refused(parity):
    parity(keras_model, right_port, X[..., :1], weights_from="keras")

def test_no_parity():
    pass
"""


@pytest.fixture(scope="module", autouse=True)
def warm():
    """What a check imports is imported here: pytester forgets what it sees imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(Path(__file__).parent.parent), *sys.path])
        compare.check_parity(keras_model, right_port, X, Y, weights_from="keras").to_html()
        yield


@pytest.mark.slow
def test_a_report_and_a_readable_failure_in_two_processes(tmp_path):
    (tmp_path / "test_port.py").write_text(BEGIN + TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2"]
    paths = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [*command, "--parity-report", "made/report.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
    )
    assert "3 failed, 4 passed" in done.stdout, done.stdout
    assert "parity of 7 pairs: made/report.json" in done.stdout
    wrong = done.stdout.partition("_ test_wrong _")[2]
    first = re.findall(r"^E +(.*)", wrong, flags=re.MULTILINE)[:3]
    assert first[0].startswith("compare.ParityError: Keras and Torch differ first on rung 4")
    assert " norm. There: training/norm/output [" in first[0]
    assert first[1].startswith("Explained by bn-epsilon: epsilon is 0.001 in Keras, 1e-05 in Torch")
    assert first[2].startswith("Also bn-momentum at norm: decay is 0.99 in Keras, 0.9 in Torch")
    assert "compare/" not in done.stdout  # no frame of the package's own
    report = json.loads((tmp_path / "made/report.json").read_text())
    found = {pair["test"].partition("::")[2]: pair["passed"] for pair in report["pairs"]}
    assert found == {
        "test_in_a_fixture": True,
        "test_refused": False,
        "test_right": True,
        "test_several[1]": True,
        "test_several[2]": True,
        "test_several[2] #2": True,
        "test_wrong": False,
    }
    assert report["passed"] is False


def test_the_nearest_marker_wins(pytester):
    pytester.makepyfile(
        BEGIN
        + """
pytestmark = pytest.mark.parity(weights_from="keras", dtype="float32", steps=3)

@pytest.mark.parity(dtype="float64")
class TestPort:
    def test_of_a_class(self, parity):
        report = parity(keras_model, right_port, X, Y)
        assert (report.dtype, steps(report)) == ("float64", 3)

    @pytest.mark.parity(steps=1, tolerances={"norm": 1e-3})
    def test_of_its_own(self, parity):
        report = parity(keras_model, right_port, X, Y)
        assert (report.dtype, steps(report)) == ("float64", 1)
        assert {c.allowed for c in report.checks if c.layer == "norm" and c.rung > 3} == {1e-3}

    @pytest.mark.parity(steps=1)
    def test_the_call_is_nearest(self, parity):
        assert steps(parity(keras_model, right_port, X, Y, steps=2)) == 2

def test_of_the_module(parity):
    assert parity(keras_model, right_port, X, Y).dtype == "float32"

def steps(report):
    return max(check.step or 0 for check in report.checks)
"""
    )
    pytester.runpytest_inprocess("--parity-report", "report.html").assert_outcomes(passed=4)
    assert (pytester.path / "report.html").read_text().count("agree on every rung") == 4


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("stpes=3", r"the parity marker: unknown option 'stpes'. Did you mean 'steps'\?"),
        ("3", r"the parity marker: expected keywords, .* received \(3,\)"),
    ],
)
def test_a_wrong_marker_is_told_in_one_line(pytester, mark, message):
    pytester.makepyfile(f"{BEGIN}\n@pytest.mark.parity({mark})\ndef test_it(parity): pass")
    result = pytester.runpytest_inprocess("--parity-report", "report.json")
    result.assert_outcomes(errors=1)
    result.stdout.re_match_lines([message])
    assert "Traceback" not in result.stdout.str()
    assert json.loads((pytester.path / "report.json").read_text()) == {"passed": False, "pairs": []}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--parity-report", "report.txt"], "ends in .html or .json"),
        (["--parity-report", "folder.json"], "folder.json is a folder"),
        (["--parity-golden", "play", "."], "expected record DIR or replay DIR"),
        (["--parity-golden", "replay", "nowhere"], "nowhere is not a folder"),
        (["--parity-live", "torch"], "add --parity-golden replay DIR"),
    ],
)
def test_wrong_options_are_told_before_anything_runs(pytester, options, message):
    (pytester.path / "folder.json").mkdir()
    result = pytester.runpytest_inprocess(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()


def test_what_a_function_raises_is_shown_where_it_raises(pytester):
    pytester.makepyfile(
        BEGIN
        + """
def broken():
    raise IndexError("mine")

def test_it(parity):
    parity(keras_model, broken, X)

def test_option(parity):
    parity(keras_model, right_port, X, to_toch=None)
"""
    )
    result = pytester.runpytest_inprocess("--parity-report", "report.json")
    result.assert_outcomes(failed=2)
    result.stdout.re_match_lines([r"E +IndexError: mine", r"E .*Did you mean 'to_torch'\?"])
    report = json.loads((pytester.path / "report.json").read_text())
    assert report["passed"] is False
    assert report["pairs"][0]["passed"] is False
    assert report["pairs"][0]["verdict"] == ["IndexError: mine"]
    assert "live.py" not in result.stdout.str()
