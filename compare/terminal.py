"""Where tables go: stdout, as wide as it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Column, Table

WIDTH_OF_A_PIPE = 150
"""A pipe has no width of its own, and a table cut at 80 columns is of no use in a file."""


def console() -> Console:
    """A console for results on stdout."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE, highlight=False)


def print_grid(headings: Sequence[str], lines: Sequence[Sequence[str]], *, left: int) -> None:
    """Print a table; where it fits, headings are broken before any cell is.

    Args:
        headings: Headings of the columns.
        lines: Cells, one per heading.
        left: How many columns are left-aligned, from the first.
    """
    out = console()
    columns = [[heading, *cells] for heading, *cells in zip(headings, *lines, strict=True)]
    widths = [max(map(len, (*heading.split(), *cells))) for heading, *cells in columns]
    spare = out.width - sum(widths) - len(widths) + 1
    grid = Table(
        *(
            Column(
                heading,
                justify="left" if place < left else "right",
                width=width if spare >= 0 else None,
                no_wrap=place == 0,
                overflow="fold",
            )
            for place, (heading, width) in enumerate(zip(headings, widths, strict=True))
        ),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0) if spare >= len(widths) else 0,
    )
    for line in lines:
        grid.add_row(*line)
    out.print(grid)
