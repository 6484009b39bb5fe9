"""What a waiting person sees: a bar on a terminal, a line per run elsewhere. stderr alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from compare.spec import Settings
from compare.study.runs import Run
from compare.wording import LABELS


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
