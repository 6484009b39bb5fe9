"""Markdown as this README has it: tables, and paragraphs of a width."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

_WIDTH = 100


def table(heads: Sequence[str], marks: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table.

    Args:
        heads: Headings of its columns.
        marks: How each is aligned, such as `"---:"`.
        lines: A cell per column.
    """
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, marks, *lines))


def paragraph(text: str) -> str:
    """Text in lines."""
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
