import json

import pytest
from made_up_costs import ROWS, TINY, made_up
from test_compare_timing_records import drop, put

from compare.cost import report as cost_report
from compare.cost.plan import PARTS, CostPlan
from compare.cost.records import _ROWS, FILE, CostRecords
from compare.errors import InputError, RunFolderError

PLANS = (
    CostPlan(),
    CostPlan(parts=("bare", "variants"), variants=None, repetitions=3, seeds=7, sizes=TINY),
    CostPlan(variants=("mlp", "cnn-bn")),
)


def saved(plan, parts):
    """What `bn-compare time --self` would leave."""
    content = {**cost_report._header(plan), **cost_report.to_json(plan, parts)}
    return json.loads(json.dumps(content, allow_nan=False))


def opened(folder, content):
    (folder / FILE).write_text(json.dumps(content))
    return CostRecords.open(folder / FILE)


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_is_read_back(plan):
    assert CostPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_what_was_saved_is_read_back(tmp_path):
    parts = [made_up(name, 0.2) for name in PARTS]
    again = opened(tmp_path, saved(CostPlan(), parts))
    assert (again.plan, again.parts, again.complete) == (CostPlan(), tuple(parts), True)
    assert again.part("bare") == made_up("bare", 0.2)
    assert again.row("scaling", seeds=1000, epochs=100) == ROWS["scaling"]


def test_a_part_that_is_under_way_is_read_back(tmp_path):
    parts = [made_up("overhead"), made_up("study", None)]
    again = opened(tmp_path, saved(CostPlan(), parts))
    assert (again.parts, again.complete) == (tuple(parts), False)
    with pytest.raises(RunFolderError, match="expected the part bare, found none"):
        again.part("bare")
    with pytest.raises(RunFolderError, match=r"in the part overhead a row with variant lstm"):
        again.row("overhead", variant="lstm")


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="expected the records of `bn-compare time --self`"):
        CostRecords.open(tmp_path / FILE)


BAD = [
    (put(2, "format_version"), "version 1, received 2: use the bn-compare that wrote it"),
    (put("bn-compare timing", "format"), "expected format 'bn-compare own cost'"),
    (drop("plan"), "expected a field 'plan', found none"),
    (drop("parts"), "expected a field 'parts', found none"),
    (drop("hardware", "python"), "hardware: expected a field 'python'"),
    (drop("versions"), "expected a field 'versions'"),
    (drop("plan", "repetitions"), "plan: expected a field 'repetitions'"),
    (drop("plan", "sizes", "few_seeds"), "plan, sizes: expected a field 'few_seeds'"),
    (put("many", "plan", "seeds"), "plan: expected a whole number or null as 'seeds'"),
    (put(1, "plan", "repetitions"), "--repetitions: expected"),
    (put({}, "parts", "studdy"), "Did you mean 'study'"),
    (drop("parts", "study", "seconds"), "parts, study: expected a field 'seconds'"),
    (put([1], "parts", "study", "rows"), "parts, study, row 1: expected an object, received 1"),
]


@pytest.fixture(scope="module")
def whole():
    return json.dumps(saved(CostPlan(), [made_up(name) for name in PARTS]))


def refused(folder, whole, change, message):
    content = json.loads(whole)
    change(content)
    with pytest.raises(RunFolderError, match=message) as found:
        opened(folder, content)
    assert str(found.value).startswith(f"{folder / FILE}: ")
    assert "\n" not in str(found.value)
    assert not isinstance(found.value, InputError)


@pytest.mark.parametrize(("change", "message"), BAD)
def test_what_cannot_be_used_is_named_with_its_place(tmp_path, whole, change, message):
    refused(tmp_path, whole, change, message)


@pytest.mark.parametrize("part", PARTS)
def test_a_row_without_a_field_of_its_table_is_refused(tmp_path, whole, part):
    for name in _ROWS[part]:
        where = f"parts, {part}, row 1: expected a field '{name}'"
        refused(tmp_path, whole, drop("parts", part, "rows", 0, name), where)
