import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed_samples import PLAN, measurements

from compare.errors import InputError
from compare.spec import Settings
from compare.timing.records import DEFAULT, Measurements, Plan, Sample

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
    repetition=st.integers(0),
    first_step=st.none() | SECONDS,
    epoch_ends=st.lists(SECONDS).map(tuple),
    other_cores=SECONDS,
    note=st.text(),
    error=st.none() | st.text(),
)


def written(values):
    return json.loads(json.dumps(values, allow_nan=False))


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_is_read_back(plan):
    assert Plan.from_dict(written(plan.to_dict())) == plan


def test_measurements_are_read_back():
    found = measurements()
    again = Measurements.from_raw(written(found.raw()))
    assert again.samples == found.samples
    assert again.processes == found.processes
    assert again.points == found.points
    assert again.raw() == found.raw()


@given(st.lists(SAMPLES))
def test_any_fit_is_read_back(samples):
    raw = Measurements(samples=samples).raw()
    assert Measurements.from_raw(written(raw)).samples == samples


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
        ({"tuned": "yes"}, "true or false as 'tuned', received 'yes'"),
        ({"epochs": "many"}, "a whole number as 'epochs', received 'many'"),
        ({"epochs": 1}, "--epochs: expected at least 2"),
        ({"variants": ["mpl"]}, "Did you mean 'mlp'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        Plan.from_dict({**written(PLAN.to_dict()), **change})


@pytest.mark.parametrize(
    ("name", "one"), [("samples", "sample"), ("processes", "process"), ("points", "point")]
)
def test_measurements_that_cannot_be_are_named(name, one):
    raw = written(measurements().raw())
    whole = {**raw, name: [*raw[name], {**raw[name][0], "framework": None}]}
    with pytest.raises(InputError, match=f"{one} {len(raw[name]) + 1}: expected text as"):
        Measurements.from_raw(whole)
    with pytest.raises(InputError, match=f"raw: expected a field '{name}', found none"):
        Measurements.from_raw({k: v for k, v in raw.items() if k != name})
