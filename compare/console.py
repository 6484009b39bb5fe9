"""What a person reads: numbers as text, tables, and progress on a terminal.

Results go to stdout, progress to stderr: bars where it is a terminal, lines where it is not.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from types import MappingProxyType, TracebackType

from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.spinner import Spinner
from rich.table import Column
from rich.table import Table as Grid
from rich.text import Text

from compare.spec import Run, Settings

LABELS: Mapping[str, str] = MappingProxyType({"keras": "Keras", "torch": "Lightning"})
"""Framework in records → what a reader calls it."""

MISSING = "–"

WIDTH_OF_A_PIPE = 150
"""A pipe has no width of its own, and a table cut at 80 columns is of no use in a file."""


def magnitude(value: float | None) -> str:
    """A difference to two digits, such as `3.1e-07`; an en dash where there is none."""
    if value is None:
        return MISSING
    if math.isnan(value):
        return "NaN"
    return "0" if value == 0 else f"{value:.1e}"


def digits(value: float | None, form: str = ".3g") -> str:
    """A number in a format of `format`; an en dash where there is none."""
    return MISSING if value is None else format(value, form)


def signed(value: float) -> str:
    """A difference with its sign, to four decimals, or to two digits where that shows nothing."""
    if value == 0:
        return "0"
    text = f"{value:+.4f}" if abs(value) >= 5e-5 else f"{value:+.1e}"
    return text.replace("-", "−", 1) if value < 0 else text


def p_value(value: float) -> str:
    """A p-value to two digits, such as `0.031` or `1.9e-05`."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def plural(number: int, noun: str) -> str:
    """A number and its noun, such as `1 seed` or `3 seeds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def joined(parts: Sequence[str]) -> str:
    """`a, b and c`, of at least one part."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def markdown_text(text: object) -> str:
    """Text that Markdown shows as it is, in a table cell too."""
    return re.sub(r"([\\`*_\[\]<>|~&])", r"\\\1", " ".join(str(text).split()))


def console() -> Console:
    """A console for results on stdout."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE, highlight=False)


@dataclass(frozen=True)
class Table:
    """A table of text, for the terminal and for pages.

    Attributes:
        headings: Headings of the columns.
        rows: Cells, one per heading.
        left: How many columns are left-aligned, from the first; the others hold numbers. None
            if all are.
        title: What the table holds: a line above it on the terminal, and its label for a screen
            reader on a page. Nothing is printed where it is empty.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int | None = None
    title: str = ""

    def is_left(self, column: int) -> bool:
        """Whether a column, counted from 0, is left-aligned."""
        return self.left is None or column < self.left

    def print(self) -> None:
        """Print the table on stdout; where it fits, headings are broken before any cell is."""
        out = console()
        columns = [
            [heading, *cells] for heading, *cells in zip(self.headings, *self.rows, strict=True)
        ]
        widths = [max(map(len, (*heading.split(), *cells))) for heading, *cells in columns]
        spare = out.width - sum(widths) - len(widths) + 1
        grid = Grid(
            *(
                Column(
                    heading,
                    justify="left" if self.is_left(place) else "right",
                    width=width if spare >= 0 else None,
                    no_wrap=place == 0,
                    overflow="fold",
                )
                for place, (heading, width) in enumerate(zip(self.headings, widths, strict=True))
            ),
            box=box.SIMPLE_HEAD,
            show_edge=False,
            padding=(0, 1, 0, 0) if spare >= len(widths) else 0,
        )
        for row in self.rows:
            grid.add_row(*row)
        if self.title:
            out.print(self.title, markup=False)
        out.print(grid)

    def markdown(self) -> str:
        """The table in Markdown, without its title and without a final newline."""
        rule = ["---" if self.is_left(place) else "---:" for place in range(len(self.headings))]
        lines = [list(map(markdown_text, row)) for row in (self.headings, *self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


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


PATIENCE = 2.0
"""Seconds after which a check tells what it is doing."""


class CheckProgress:
    """Shows what is under way once it takes longer than `PATIENCE`; call it with a text.

    On a terminal one line appears then, and changes with every text. Elsewhere a line is added
    every `PATIENCE` seconds if the text has changed.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._text = self._printed = ""
        self._spinner = Spinner("dots")
        # The computation may replace stdout and stderr and put them back: leave them alone.
        self._line = Live(
            get_renderable=self._spinning,
            console=self._console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        # A thread, since what takes long says nothing meanwhile.
        self._ended = Event()
        self._waiting = Thread(target=self._wait, daemon=True)

    def __call__(self, text: str) -> None:
        self._text = text

    def _wait(self) -> None:
        while not self._ended.wait(PATIENCE):
            if self._console.is_terminal:
                self._line.start(refresh=True)
            elif self._text != self._printed:
                self._printed = self._text
                self._console.print(self._text, markup=False, highlight=False)

    def _spinning(self) -> Spinner:
        self._spinner.update(text=Text(self._text))
        return self._spinner

    def __enter__(self) -> CheckProgress:
        self._waiting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._waiting.join()
        self._line.stop()


@contextmanager
def announcing() -> Iterator[Callable[[str], None]]:
    """Yields a function that says what is under way: one line on a terminal, else a line each."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: console.print(text, markup=False, highlight=False)
        return
    with console.status("starting the frameworks") as status:
        yield lambda text: status.update(text)
