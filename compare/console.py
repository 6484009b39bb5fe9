"""Where tables go: stdout, as wide as it is."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType, TracebackType

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from compare.spec import Run, Settings

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


LABELS: Mapping[str, str] = MappingProxyType({"keras": "Keras", "torch": "Lightning"})
"""Framework in records → what a reader calls it."""

MISSING = "–"


def magnitude(value: float | None) -> str:
    """A difference to two digits, such as `3.1e-07`; an en dash where there is none."""
    if value is None:
        return MISSING
    if math.isnan(value):
        return "NaN"
    return "0" if value == 0 else f"{value:.1e}"


class StudyProgress:
    """The progress of a study; call it with a run, its finished epochs and perhaps a note.

    Args:
        settings: Tells how many epochs a run has, and how many runs there will be.
        runs: How many runs there will be, where it is not the whole grid of the settings.
    """

    def __init__(self, settings: Settings, runs: int | None = None) -> None:
        self._console = Console(stderr=True)
        grid = len(settings.variants) * len(settings.frameworks) * settings.seeds
        self._runs = grid if runs is None else runs
        self._epochs = settings.epochs
        self._done = 0
        self._under_way: dict[Run, int] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting the frameworks", total=self._runs * self._epochs)

    def __call__(self, run: Run, epochs: int, note: str = "") -> None:
        text = f"{run.variant} {LABELS[run.framework]} seed {run.seed} {note}".rstrip()
        # Two runs may be under way at once, one per framework.
        self._under_way[run] = epochs
        if epochs == self._epochs:
            self._done += 1
            del self._under_way[run]
        completed = self._done * self._epochs + sum(self._under_way.values())
        self._bar.update(self._task, description=text, completed=completed)
        if epochs == self._epochs and not self._console.is_terminal:
            self._console.print(f"[{self._done}/{self._runs}] {text}", markup=False)

    def say(self, text: str) -> None:
        """Announce a step that has no epochs."""
        self._bar.update(self._task, description=text)
        if not self._console.is_terminal:
            self._console.print(text)

    def __enter__(self) -> StudyProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


@contextmanager
def announcing() -> Iterator[Callable[[str], None]]:
    """Yields a function that says what is under way: one line on a terminal, else a line each."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: console.print(text, markup=False, highlight=False)
        return
    with console.status("starting the frameworks") as status:
        yield lambda text: status.update(text)
