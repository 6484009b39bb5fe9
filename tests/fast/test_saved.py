import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pytest

from compare import saved
from compare.errors import InputError, RunFolderError

FORM = saved.Format("bn-compare something", 2)


@dataclass(frozen=True)
class Fit:
    name: str
    count: int
    seconds: float | None
    ends: tuple[float, ...]
    sizes: Mapping[str, int]
    warm: bool = True


FIT = Fit("a", 1, None, (0.5, 1.0), {"x": 3})


def written(values):
    return json.loads(json.dumps(values))


def test_what_was_written_is_made_again():
    assert saved.made(Fit, written(asdict(FIT)), "fit 1") == FIT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "fit 1: expected text as 'name', received 1"),
        ({"count": 1.5}, "a whole number as 'count', received 1.5"),
        ({"count": True}, "a whole number as 'count', received True"),
        ({"seconds": "1"}, "a number or null as 'seconds', received '1'"),
        ({"seconds": float("nan")}, "a number or null as 'seconds', received nan"),
        ({"ends": [0.5, "1"]}, "a list as 'ends'"),
        ({"ends": 0.5}, "a list as 'ends'"),
        ({"sizes": {"x": None}}, "an object as 'sizes'"),
        ({"warm": 1}, "true or false as 'warm'"),
        ({"colour": 1}, "expected no field 'colour'"),
    ],
)
def test_what_is_of_another_type_is_named(change, message):
    with pytest.raises(InputError, match=message):
        saved.made(Fit, {**written(asdict(FIT)), **change}, "fit 1")


def test_every_field_is_needed():
    for name in asdict(FIT):
        values = {k: v for k, v in written(asdict(FIT)).items() if k != name}
        with pytest.raises(InputError, match=f"fit 1: expected a field '{name}', found none"):
            saved.made(Fit, values, "fit 1")
    with pytest.raises(InputError, match=r"fit 1: expected an object, received \[\]"):
        saved.made(Fit, [], "fit 1")


def test_other_fields_may_stand_beside_those_that_are_checked():
    saved.check({"a": 1, "b": "x"}, {"a": float}, "row 1")


def test_what_is_received_is_told_in_one_short_line():
    with pytest.raises(InputError) as found:
        saved.check({"a": ["long\n"] * 1000}, {"a": str}, "row 1")
    assert len(str(found.value)) < 120
    assert "\n" not in str(found.value)


def test_a_file_is_read_back(tmp_path):
    content = {**FORM.header(), "more": [1]}
    (tmp_path / "file.json").write_text(json.dumps(content))
    assert saved.read(tmp_path / "file.json", FORM) == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "file.json: cannot be read as JSON"),
        ("{", "cannot be read as JSON"),
        ("\ufeff", "cannot be read as JSON"),
        ("[]", "not written by bn-compare: expected format 'bn-compare something'"),
        ('{"format": "bn-compare run folder"}', "not written by bn-compare"),
        (
            '{"format": "bn-compare something", "format_version": 3}',
            "expected format version 2, received 3: use the bn-compare that wrote it",
        ),
    ],
)
def test_another_file_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "file.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunFolderError, match=message):
        saved.read(tmp_path / "file.json", FORM)
