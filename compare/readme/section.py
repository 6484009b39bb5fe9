"""A part of the README that is made from records: what stands in it, and what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Section:
    """One block of the README, and the figures that go with it.

    Attributes:
        name: What its marks are called.
        source: Where its records are.
        block: Its Markdown.
        figures: Draws name → figure; a figure's name is that of its file in `docs`, without ending.
        keep: Copies the records into `docs`, the folder it is given.
    """

    name: str
    source: Path
    block: str
    figures: Callable[[], Iterator[tuple[str, Figure]]]
    keep: Callable[[Path], None]


def no_figures() -> Iterator[tuple[str, Figure]]:
    """For a section that shows none."""
    return iter(())
