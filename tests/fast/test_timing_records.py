import json
from dataclasses import asdict

import pytest
from timed_samples import PLAN, measurements

from compare.errors import RunFolderError
from compare.timing import report as timing_report
from compare.timing.records import FILE, TimingRecords
from compare.timing.summary import figures, ratios


def saved(found):
    """What `bn-compare time` would leave."""
    content = {**timing_report._header(PLAN), **timing_report.to_json(PLAN, found)}
    return {**content, "raw": found.raw()}


def write(folder, content):
    (folder / FILE).write_text(json.dumps(content, allow_nan=False))
    return folder / FILE


@pytest.mark.parametrize("complete", [True, False])
def test_what_was_saved_is_read_back(tmp_path, complete):
    found = measurements()
    found.complete, found.waited = complete, 1.5
    found.left_out.append("scaling: units 5000, 90 seconds had passed")
    content = saved(found)
    again = TimingRecords.open(write(tmp_path, content))
    assert again.plan == PLAN
    assert again.measurements == found
    # Whatever follows from the measurements follows from the file.
    assert [asdict(figure) for figure in figures(again.plan, again.measurements)] == content[
        "figures"
    ]
    assert [asdict(ratio) for ratio in ratios(again.measurements)] == content["ratios"]
    assert saved(again.measurements)["scaling"] == content["scaling"]


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"expected the records of `bn-compare time`, found"):
        TimingRecords.open(tmp_path / FILE)


def drop(*path):
    def change(content):
        for name in path[:-1]:
            content = content[name]
        del content[path[-1]]

    return change


def put(value, *path):
    def change(content):
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = value

    return change


SAMPLE = ("raw", "samples", 0)
BAD = [
    (put(2, "format_version"), "version 1, received 2: use the bn-compare that wrote it"),
    (put("bn-compare own cost", "format"), "expected format 'bn-compare timing'"),
    (drop("raw"), "expected a field 'raw', found none"),
    (drop("complete"), "expected a field 'complete', found none"),
    (put("yes", "complete"), "true or false as 'complete', received 'yes'"),
    (drop("hardware", "cpu"), "hardware: expected a field 'cpu'"),
    (drop("versions", "torch"), "versions: expected a field 'torch'"),
    (drop("settings", "dtype"), "settings: expected a field 'dtype'"),
    (drop(*SAMPLE, "epoch_ends"), "sample 1: expected a field 'epoch_ends'"),
    (put("1", *SAMPLE, "first_step"), "sample 1: expected a number or null as 'first_step'"),
    (put([1.0], *SAMPLE, "epoch_ends"), r"repetition 0: expected at least 2 .* received \[1.0\]"),
    (put([2.0, 1.0], *SAMPLE, "epoch_ends"), "each after the one before"),
    (put("kears", *SAMPLE, "framework"), "Did you mean 'keras'"),
    (put("cnn", *SAMPLE, "variant"), "unknown variant 'cnn'"),
    (put("flor", *SAMPLE, "kind"), "Did you mean 'floor'"),
    (put("cnn", "raw", "processes", 0, "variant"), "unknown variant 'cnn'"),
    (put("unit", "raw", "points", 0, "axis"), "Did you mean 'units'"),
]


@pytest.fixture(scope="module")
def whole():
    return json.dumps(saved(measurements()))


@pytest.mark.parametrize(("change", "message"), BAD)
def test_what_cannot_be_used_is_named_with_its_place(tmp_path, whole, change, message):
    content = json.loads(whole)
    change(content)
    file = write(tmp_path, content)
    with pytest.raises(RunFolderError, match=message) as found:
        TimingRecords.open(file)
    assert str(found.value).startswith(f"{file}: ")
    assert "\n" not in str(found.value)
