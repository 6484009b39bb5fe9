"""Where tables go: stdout, as wide as it is."""

from __future__ import annotations

import sys

from rich.console import Console

WIDTH_OF_A_PIPE = 150
"""A pipe has no width of its own, and a table cut at 80 columns is of no use in a file."""


def console() -> Console:
    """A console for results on stdout."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE, highlight=False)
