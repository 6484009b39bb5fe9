"""JSON that a command wrote, read back and validated by its type alone.

A kind is a dataclass, a TypedDict or a msgspec Struct; `Annotated[float, msgspec.Meta(ge=0, le=1)]`
gives a range. What does not fit raises one line that names the file and the path inside it, such as
`records.jsonl:3: $.final.test_accuracy: expected a number ≤ 1.0, received 7.0.`
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, TypeVar

import msgspec

from compare.errors import CompareError, InputError, RunFolderError

T = TypeVar("T")
Error = type[CompareError]

_ADVICE = " Restore the file, or write it again."
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
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


def read(file: Path, kind: type[T], form: Format, error: Error = RunFolderError) -> T:
    """The content of a JSON file; fields that `kind` does not name are left out.

    Raises:
        CompareError: It cannot be read, is no JSON, foreign, of another version, or does not fit.
    """
    content = _parsed(_bytes(file, error), str(file), error)
    if not isinstance(content, dict) or content.get("format") != form.name:
        raise error(f"{file}: not written by bn-compare: expected format {form.name!r}.")
    if content.get("format_version") != form.version:
        raise error(
            f"{file}: expected format version {form.version}, received "
            f"{shortened(content.get('format_version'))}: use the bn-compare that wrote it."
        )
    return convert(content, kind, str(file), error, _ADVICE)


def read_lines(file: Path, kind: type[T], error: Error = RunFolderError) -> list[T]:
    """The content of a file with one JSON value per line.

    A last line without its line break was cut short by an interruption and is left out.

    Raises:
        CompareError: The file cannot be read, or a line is no JSON or does not fit.
    """
    lines = _bytes(file, error).split(b"\n")[:-1]
    return [decode(line, kind, f"{file}:{n}", error) for n, line in enumerate(lines, start=1)]


def decode(text: bytes, kind: type[T], where: str, error: Error = RunFolderError) -> T:
    """A value from the JSON of a file; `where` is how a message names it.

    Raises:
        CompareError: It is no JSON, or does not fit.
    """
    return convert(_parsed(text, where, error), kind, where, error, _ADVICE)


def convert(
    value: Any, kind: type[T], where: str, error: Error = InputError, advice: str = ""
) -> T:
    """A value of a kind from the plain types that JSON has.

    Raises:
        CompareError: It does not fit; the message ends with `advice`.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as problem:
        raise error(f"{where}: {_worded(str(problem), value)}{advice}") from None


def encode(value: Any, indent: int | None = None) -> str:
    """A value as JSON, with numbers as Python spells them.

    Raises:
        ValueError: A number is not finite: JSON has no such number.
    """
    return json.dumps(value, indent=indent, allow_nan=False)


def _bytes(file: Path, error: Error) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        raise error(f"{file}: cannot be read: {problem.strerror}.") from problem


def _parsed(text: bytes, where: str, error: Error) -> Any:
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        problem = "nested too deeply"
    except ValueError as invalid:  # msgspec's own errors, and UnicodeDecodeError
        problem = str(invalid)
    raise error(f"{where}: cannot be read as JSON: {problem}.{_ADVICE}")


def _worded(message: str, content: Any) -> str:
    """What msgspec says of content that does not fit, with the path first and in plain words."""
    said, _, path = message.rstrip("`").partition(" - at `")
    start = f"{path}: " if path.startswith("$.") or path.startswith("$[") else ""
    if field := re.fullmatch(r"Object (missing required|contains unknown) field `(.*?)`?", said):
        missing = field[1].startswith("missing")
        return f"{start}expected {'a' if missing else 'no'} field {field[2]!r}" + (
            ", found none." if missing else "."
        )
    if said.startswith("Expected"):
        said = re.sub(r", got .*", "", said)
        said = re.sub(r"`(\w+(?: \| \w+)*)`", _in_words, said).replace(">=", "≥").replace("<=", "≤")
    elif said.startswith("Invalid enum value"):
        said = "expected a name that this version knows"
    elif not said.endswith("out of range"):
        return f"{start}{said.rstrip('.')}."
    # The keys of a mapping are not named in a path.
    received = "" if "[...]" in path else f", received {shortened(_at(content, path))}"
    return f"{start}{said[0].lower()}{said[1:]}{received}."


def _in_words(kinds: re.Match[str]) -> str:
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds[1].split(" | "))


def _at(content: Any, path: str) -> Any:
    for name, place in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path):
        content = content[name] if name else content[int(place)]
    return content
