import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed_samples import PLAN, measurements, saved, write

from compare import schema
from compare.errors import InputError, RunFolderError
from compare.spec import Settings
from compare.timing.records import DEFAULT, FILE, Measurements, Plan, Raw, Sample, TimingRecords
from compare.timing.summary import figures, ratios

PLANS = (
    PLAN,
    DEFAULT,
    Plan(
        settings=Settings(variants=("cnn",), epochs=3, undo=("bn-momentum",), dtype="float64"),
        repetitions=7,
        tuned=True,
        scaling=False,
        accelerator="gpu",
        patience=0.5,
    ),
)

SECONDS = st.floats(0, 1e6)
SAMPLES = st.builds(
    Sample,
    variant=st.text(),
    framework=st.sampled_from(["keras", "torch"]),
    configuration=st.text(),
    kind=st.text(),
    repetition=st.integers(0, 2**63),
    first_step=st.none() | SECONDS,
    epoch_ends=st.lists(SECONDS, min_size=2, unique=True).map(lambda ends: tuple(sorted(ends))),
    other_cores=SECONDS,
    note=st.text(),
    error=st.none() | st.text(),
)


def written(values):
    return json.loads(json.dumps(values, allow_nan=False))


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_is_read_back(plan):
    assert Plan.from_dict(written(plan.to_dict())) == plan


@given(st.lists(SAMPLES))
def test_any_fit_is_read_back(samples):
    raw = Measurements(samples=samples).raw()
    assert schema.convert(written(raw), Raw, "raw")["samples"] == samples


def test_every_field_of_a_plan_is_needed():
    values = written(PLAN.to_dict())
    for name in values.keys() - {"steps_per_epoch"}:
        rest = {k: v for k, v in values.items() if k != name}
        with pytest.raises(InputError, match=f"settings: expected a field '{name}', found none"):
            Plan.from_dict(rest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed": 1}, "settings: expected no field 'speed'"),
        ({"tuned": "yes"}, r"settings: \$.tuned: expected true or false, received 'yes'"),
        ({"epochs": "many"}, r"\$.settings.epochs: expected a whole number, received 'many'"),
        ({"epochs": 1}, "--epochs: expected at least 2"),
        ({"variants": ["mpl"]}, "Did you mean 'mlp'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        Plan.from_dict({**written(PLAN.to_dict()), **change})


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
    with pytest.raises(RunFolderError, match=r"timing.json: cannot be read"):
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
    (put("yes", "complete"), r"\$.complete: expected true or false, received 'yes'"),
    (drop("hardware", "cpu"), r"\$.hardware: expected a field 'cpu'"),
    (drop("versions", "torch"), r"\$.versions: expected a field 'torch'"),
    (drop("settings", "dtype"), "settings: expected a field 'dtype'"),
    (drop(*SAMPLE, "epoch_ends"), r"\$.raw.samples\[0\]: expected a field 'epoch_ends'"),
    (put("1", *SAMPLE, "first_step"), r"samples\[0\].first_step: expected a number or null, rec"),
    (put(-1.0, *SAMPLE, "first_step"), r"samples\[0\].first_step: expected .* ≥ 0.0, rec"),
    (put([1.0], *SAMPLE, "epoch_ends"), r"repetition 0: expected at least 2 .* received \[1.0\]"),
    (put([2.0, 1.0], *SAMPLE, "epoch_ends"), "each after the one before"),
    (put(None, "raw", "processes", 0, "framework"), r"processes\[0\].framework: expected text"),
    (put(None, "raw", "points", 0, "framework"), r"points\[0\].framework: expected text"),
    (drop("raw", "points"), r"\$.raw: expected a field 'points', found none"),
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
