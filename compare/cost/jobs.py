"""What the worker processes do when the product's own cost is measured, and starting them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from compare.frameworks import Framework
from compare.spec import FRAMEWORKS, Settings
from compare.study.engine import Job, Worker, side_by_side
from compare.study.paces import execute, execute_many
from compare.study.runs import Run
from compare.usage import peak_bytes

Stamps = list[float]
"""Seconds from the start of a run to the end of every epoch, and to its end."""


def started(settings: Settings, stack: ExitStack) -> tuple[dict[str, Worker], float]:
    """Both frameworks in processes of their own, and the seconds until both were imported."""
    begin = time.perf_counter()
    workers = {name: stack.enter_context(Worker(name, settings)) for name in FRAMEWORKS}
    for worker in workers.values():
        worker.ready()
    return workers, time.perf_counter() - begin


def together(
    jobs: Mapping[Worker, Iterable[Job]], say: Callable[[Run], None]
) -> list[tuple[Run, Stamps]]:
    """Do `stamped` jobs, both frameworks at the same time.

    Args:
        jobs: Worker → its jobs.
        say: Told every run that is done.

    Returns:
        Every run with its stamps, in the order in which they ended.
    """
    found: list[tuple[Run, Stamps]] = []

    def told(content: Any) -> None:
        if isinstance(content, tuple):
            found.append(content)
            say(content[0])

    side_by_side(jobs, told)
    return found


def stamped(
    run: Run, settings: Settings, framework: Framework, tell: Callable[[Any], None]
) -> None:
    """One run at the idiomatic pace; tells every epoch, as a study does, and at last its stamps."""
    begin = time.perf_counter()
    stamps: Stamps = []

    def on_epoch(epoch: int) -> None:
        stamps.append(time.perf_counter() - begin)
        tell(epoch)

    execute(run, settings, framework, on_epoch)
    stamps.append(time.perf_counter() - begin)
    tell((run, stamps))


def measured_many(
    variant: str, name: str, settings: Settings, framework: Framework, tell: Callable[[Any], None]
) -> None:
    """All seeds at the fast pace; tells at last `(name, seconds, peak memory in bytes)`."""
    begin = time.perf_counter()
    execute_many(variant, name, settings, framework, tell)
    tell((name, time.perf_counter() - begin, peak_bytes()))
