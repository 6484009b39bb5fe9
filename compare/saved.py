"""JSON that a command left, read back: it is what it should be, or one line says what is not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortened
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from compare.errors import InputError, RunFolderError

T = TypeVar("T")

_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    NoneType: "null",
    list: "a list",
    tuple: "a list",
    dict: "an object",
}


@dataclass(frozen=True)
class Format:
    """How a kind of file names itself, in its fields `format` and `format_version`.

    Attributes:
        name: Of this kind, and of no other program's files.
        version: What this version of the package reads and writes.
    """

    name: str
    version: int = 1

    def header(self) -> dict[str, Any]:
        """The first fields of such a file."""
        return {"format": self.name, "format_version": self.version}


def read(file: Path, form: Format) -> dict[str, Any]:
    """The object in a file.

    Raises:
        RunFolderError: It cannot be read, is no JSON, foreign, or of another version.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != form.name:
        raise RunFolderError(f"{file}: not written by bn-compare: expected format {form.name!r}.")
    if content.get("format_version") != form.version:
        raise RunFolderError(
            f"{file}: expected format version {form.version}, "
            f"received {content.get('format_version')!r}: use the bn-compare that wrote it."
        )
    return content


@contextmanager
def opened(file: Path, form: Format, command: str) -> Iterator[dict[str, Any]]:
    """The object in a file, for a block that makes something of it.

    Args:
        file: Where it should be.
        form: What it should be.
        command: What writes such files, as a message names it.

    Raises:
        RunFolderError: The file is missing, foreign, corrupt or of another version, or the block
            raised `InputError` over what is in it.
    """
    if not file.is_file():
        raise RunFolderError(
            f"{file}: expected the records of `{command}`, found none. Pass a folder that it wrote."
        )
    content = read(file, form)
    try:
        yield content
    except InputError as error:
        raise RunFolderError(
            f"{file}: not as `{command}` leaves it: {error} Measure again."
        ) from error


def check(values: Any, expected: Mapping[str, Any], where: str) -> None:
    """Raise unless an object has these fields, of these types; others may stand beside them.

    Args:
        values: What was read.
        expected: Field → its type, as an annotation says it; a number must be finite.
        where: How a message names the object.

    Raises:
        InputError: It is no object, a field is missing, or of another type.
    """
    if not _fits(values, dict):
        raise InputError(f"{where}: expected {_words(dict)}, received {shortened(values)}.")
    for name, kind in expected.items():
        if name not in values:
            raise InputError(f"{where}: expected a field {name!r}, found none.")
        if not _fits(values[name], kind):
            raise InputError(
                f"{where}: expected {_words(kind)} as {name!r}, received {shortened(values[name])}."
            )


def made(kind: type[T], values: Any, where: str) -> T:
    """A dataclass from what `dataclasses.asdict` and JSON made of it.

    Args:
        kind: The dataclass.
        values: What was read.
        where: How a message names it.

    Raises:
        InputError: A field is missing, unknown, or of another type.
    """
    hints = get_type_hints(kind)
    check(values, hints, where)
    strange = [name for name in values if name not in hints]
    if strange:
        raise InputError(f"{where}: expected no field {strange[0]!r}.")
    # JSON has no tuples.
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _fits(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin in (list, tuple):
        return isinstance(value, list) and all(_fits(one, inner[0]) for one in value)
    if origin is not None:
        return isinstance(value, dict) and all(_fits(one, inner[1]) for one in value.values())
    # JSON does not tell 1.0 from 1, and Python takes true for 1.
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return " or ".join(_words(one) for one in get_args(kind))
    return _WORDS.get(origin or kind, "an object")
