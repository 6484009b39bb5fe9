"""The README's sections written from their records, and whether they still are what those give.

The README holds each block between two marks; `docs/` beside it holds the figures, and the records
themselves.
"""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Sequence
from pathlib import Path

from compare.errors import InputError, RunFolderError
from compare.readme import marks
from compare.readme.pictures import drawn, gap
from compare.readme.section import Section
from compare.study.records import write_text


def docs_beside(readme: Path) -> Path:
    """Where the figures and the records are kept that a README rests on."""
    return readme.parent / "docs"


def write(sections: Sequence[Section], readme: Path) -> None:
    """Write the README's blocks, their figures, and the records beside it.

    Args:
        sections: What shall stand there.
        readme: A file with the marks of all of them in it.

    Raises:
        InputError: Marks are missing; nothing is written then.
        RunFolderError: Something cannot be read or written.
    """
    text = _text(readme)
    for section in sections:
        text = marks.replaced(text, section.name, section.block, f"--readme {readme}")
    docs = docs_beside(readme)
    try:
        docs.mkdir(exist_ok=True)
        for section in sections:
            for name, picture in drawn(section):
                shutil.copyfile(picture, docs / f"{name}.png")
            section.keep(docs)
        write_text(readme, text)
    except OSError as error:
        raise RunFolderError(f"{readme}, or docs beside it: cannot be written: {error}") from error


def faults(sections: Sequence[Section], readme: Path) -> list[str]:
    """What a README says or shows that its records do not; empty where all is well.

    Args:
        sections: What should stand there.
        readme: A file with the marks of all of them in it; its figures are in `docs` beside it.

    Returns:
        Lines of a unified diff from the README to the records, and one line per figure that is
        missing or looks different.

    Raises:
        InputError: Marks are missing.
    """
    text = _text(readme)
    return [line for section in sections for line in _faults(section, text, readme)]


def _faults(section: Section, text: str, readme: Path) -> list[str]:
    found = marks.block_of(text, section.name, f"--readme {readme}").split("\n")
    expected = marks.framed(section.block).split("\n")
    ends = (str(readme), str(section.source))
    lines = list(difflib.unified_diff(found, expected, *ends, lineterm=""))
    for name, picture in drawn(section):
        shown = docs_beside(readme) / f"{name}.png"
        if not shown.is_file():
            lines.append(f"{shown}: expected a figure, found none")
        elif (apart := gap(picture, shown)) is not None:
            lines.append(f"{shown}: not the figure of these records: {apart}")
    return lines


def _text(readme: Path) -> str:
    try:
        return readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--readme {readme}: cannot be read: {error}") from error
