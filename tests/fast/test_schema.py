import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Literal, NotRequired, TypedDict

import pytest
from msgspec import Meta

from compare import schema
from compare.errors import GoldenError, InputError, RunFolderError

FORM = schema.Format("bn-compare something", 2)
Share = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True)
class Fit:
    name: str
    count: Annotated[int, Meta(ge=1)]
    seconds: float | None
    ends: tuple[float, ...]
    sizes: Mapping[str, Annotated[int, Meta(ge=1)]]
    warm: bool = True

    def __post_init__(self):
        if self.name == "b":
            raise InputError("b is refused.")


class Row(TypedDict):
    kind: Literal["a", "b"]
    final: dict[str, Share | None]
    curves: NotRequired[list[list[Share | None]]]
    file: NotRequired[Annotated[str, Meta(pattern=r"^[\w-]+$")]]


FIT = Fit("a", 1, None, (0.5, 1.0), {"x": 3})


def written(values):
    return json.loads(json.dumps(values))


def test_what_was_written_is_made_again():
    assert schema.convert(written(asdict(FIT)), Fit, "fit 1") == FIT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, r"fit 1: \$.name: expected text, received 1\.$"),
        ({"count": 1.5}, r"\$.count: expected a whole number, received 1.5"),
        ({"count": True}, r"\$.count: expected a whole number, received True"),
        ({"count": 0}, r"\$.count: expected a whole number ≥ 1, received 0\."),
        ({"seconds": "1"}, r"\$.seconds: expected a number or null, received '1'"),
        ({"ends": [0.5, "1"]}, r"\$.ends\[1\]: expected a number, received '1'"),
        ({"ends": 0.5}, r"\$.ends: expected a list, received 0.5"),
        ({"ends": [10**400]}, r"\$.ends\[0\]: number out of range, received 1000"),
        ({"sizes": {"x": None}}, r"\$.sizes\[...\]: expected a whole number\.$"),
        ({"sizes": {"x": 0}}, r"\$.sizes\[...\]: expected a whole number ≥ 1\.$"),
        ({"sizes": 3}, r"\$.sizes: expected an object, received 3"),
        ({"warm": 1}, r"\$.warm: expected true or false, received 1"),
        ({"name": "b"}, r"^fit 1: b is refused\.$"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(InputError, match=message):
        schema.convert({**written(asdict(FIT)), **change}, Fit, "fit 1")


def test_every_field_without_a_default_is_needed():
    for name in ("name", "count", "seconds", "ends", "sizes"):
        values = {k: v for k, v in written(asdict(FIT)).items() if k != name}
        with pytest.raises(InputError, match=f"fit 1: expected a field '{name}', found none"):
            schema.convert(values, Fit, "fit 1")
    with pytest.raises(InputError, match=r"^fit 1: expected an object, received \[\]\.$"):
        schema.convert([], Fit, "fit 1")


def test_other_fields_may_stand_beside_those_of_the_type():
    assert schema.convert({"kind": "a", "final": {}, "new": 1}, Row, "row") == {
        "kind": "a",
        "final": {},
    }


def test_what_is_received_is_told_in_one_short_line():
    with pytest.raises(InputError) as caught:
        schema.convert({"kind": ["long\n"] * 1000, "final": {}}, Row, "row 1")
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)


def test_not_finite_is_no_number_in_a_range():
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(InputError, match="expected a number"):
            schema.convert({"kind": "a", "final": {"x": value}}, Row, "row")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "cannot be read as JSON: Input data was truncated"),
        (b'{"kind": "a", "final": {"x": NaN}}', "cannot be read as JSON: JSON is malformed"),
        (b'{"kind": "\xff"}', "cannot be read as JSON: .*utf-8"),
        (b"\xef\xbb\xbf{}", "cannot be read as JSON"),
        (b'{"new": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deeply"),
        (b"[]", r"expected an object, received \[\]"),
        (b"null", "expected an object, received None"),
        (b"{}", "expected a field 'kind', found none"),
        (b'{"kind": "c", "final": {}}', r"\$.kind: expected a name that this version knows.*'c'"),
        (b'{"kind": "a", "final": {"x": 7.0}}', r"\$.final\[...\]: expected a number ≤ 1.0"),
        (b'{"kind": "a", "final": {"x": 1e999}}', "cannot be read as JSON|out of range"),
        (
            b'{"kind": "a", "final": {}, "curves": [[0.5], [null, 7.0]]}',
            r"\$.curves\[1\]\[1\]: expected a number ≤ 1.0, received 7.0",
        ),
        (
            b'{"kind": "a", "final": {}, "file": "../b"}',
            r"\$.file: expected text matching regex .*, received '../b'",
        ),
    ],
)
def test_a_line_that_does_not_fit_is_named_with_its_file_and_number(tmp_path, line, message):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"kind": "a", "final": {"x": null}}\n' + line + b'\n{"kind": "cut sho')
    with pytest.raises(RunFolderError, match=f"rows.jsonl:2: .*{message}") as caught:
        schema.read_lines(file, Row)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("Restore the file, or write it again.")


def test_a_last_line_cut_short_is_left_out(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"kind": "a", "final": {}}\n{"kind": "cut sho')
    assert schema.read_lines(file, Row) == [{"kind": "a", "final": {}}]


def test_a_file_is_read_back(tmp_path):
    content = {**FORM.header(), "kind": "a", "final": {"x": 1}}
    (tmp_path / "file.json").write_text(schema.encode(content))
    assert schema.read(tmp_path / "file.json", Row, FORM) == {"kind": "a", "final": {"x": 1.0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "file.json: cannot be read: No such file"),
        ("{", "cannot be read as JSON"),
        ("\ufeff", "cannot be read as JSON"),
        ("[]", "not written by bn-compare: expected format 'bn-compare something'"),
        ('{"format": "bn-compare run folder"}', "not written by bn-compare"),
        (
            '{"format": "bn-compare something", "format_version": 3}',
            "expected format version 2, received 3: use the bn-compare that wrote it",
        ),
        (
            '{"format": "bn-compare something", "format_version": 2}',
            "file.json: expected a field 'kind', found none. Restore the file",
        ),
    ],
)
def test_another_file_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "file.json").write_text(text, encoding="utf-8")
    for error in (RunFolderError, GoldenError):
        with pytest.raises(error, match=message):
            schema.read(tmp_path / "file.json", Row, FORM, error)


def test_what_is_not_finite_is_not_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        schema.encode({"x": math.nan})
