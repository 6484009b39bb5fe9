"""Each framework in a process of its own, which lives as long as the study.

The parent sends jobs over a pipe and receives events: a message on the way, a result, or an error.
One process per framework keeps each one's threads, memory and dtype to itself, and lets a user
install one framework alone.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any

from compare.backends import protocol
from compare.backends.loading import load
from compare.data import Array
from compare.errors import CompareError, WorkerError
from compare.spec import Run, Settings
from compare.study.runs import Outcome
from compare.study.train import execute

_NOTE = re.compile(rb"I\d{4} |WARNING: All log messages before absl|E.*failed call to cuInit")


Job = Callable[[protocol.Framework, Callable[[Any], None]], Any]
"""Called with the loaded framework, and with a function that sends the parent a message."""


class Worker:
    """One framework in a process of its own; use it as a context manager.

    Args:
        name: `"keras"` or `"torch"`.
        settings: Settings of the study.
        accelerator: `"cpu"`, or `"gpu"` to let it see one; `ready` says what it found.
    """

    def __init__(self, name: str, settings: Settings, accelerator: str = "cpu") -> None:
        context = multiprocessing.get_context("spawn")
        self.name, self._settings = name, settings
        self.connection, far_end = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(far_end, name, settings, accelerator),
            name=f"bn-compare-{name}",
            daemon=True,
        )
        self.import_seconds = math.nan
        self._process.start()
        far_end.close()

    def ready(self) -> dict[str, str]:
        """Wait until the framework is imported; returns its versions and `accelerator`.

        From then on, `import_seconds` says how long the import took over there.

        Raises:
            MissingDependencyError: It cannot be imported.
            WorkerError: The process died.
        """
        kind, content = self.receive()
        assert kind == "ready"
        report, self.import_seconds = content
        return dict(report)

    def start(self, job: Job) -> None:
        """Send a job over; `receive` waits for its messages and its result."""
        self.connection.send(job)

    def call(self, job: Job, on_message: Callable[[Any], None] = lambda message: None) -> Any:
        """Do a job over there.

        Args:
            job: Called as `job(framework, send)` with the loaded framework; it must pickle, and so
                must its messages and its result.
            on_message: Called here with every message of the job.

        Returns:
            What the job returned.

        Raises:
            WorkerError: The framework raised, or its process died.
        """
        self.start(job)
        while True:
            kind, content = self.receive()
            if kind == "done":
                return content
            on_message(content)

    def run(
        self,
        run: Run,
        on_epoch: Callable[[int], None],
        settings: Settings | None = None,
        *,
        events: Path | None = None,
    ) -> Outcome:
        """Execute one run over there.

        Args:
            run: A run of this framework.
            on_epoch: Called here after every epoch, with its number from 1.
            settings: Settings of this run alone, of the study's dtype and threads; None for the
                study's.
            events: Folder of the event files of all runs; None to write none.

        Raises:
            WorkerError: The framework raised, or its process died.
        """
        job = partial(execute, run, settings or self._settings, events=events)
        outcome = self.call(job, on_epoch)
        assert isinstance(outcome, Outcome)
        return outcome

    def demonstrate(self, name: str, *, remedied: bool) -> dict[str, Array]:
        """The arrays of a convention's demonstration, computed over there.

        Args:
            name: A convention without a switch.
            remedied: Whether its remedy is in place.

        Raises:
            WorkerError: The framework raised, or its process died.
        """
        return dict(self.call(partial(_demonstrate, name, remedied)))

    def receive(self) -> tuple[str, Any]:
        """The next event: `("message", content)` or `("done", result)`.

        Raises:
            WorkerError: The framework raised, or its process died.
        """
        try:
            kind, content = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join(timeout=5)
            raise WorkerError(
                f"the {self.name} process ended unexpectedly (exit code {self._process.exitcode}): "
                "out of memory, or ended from outside. What was finished is saved."
            ) from error
        if kind == "error":
            raise content
        return kind, content

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.connection.close()
        else:
            # First of all the process: a thread may still be waiting for its answer.
            self._process.terminate()
        self._end()
        self.connection.close()

    def abandon(self) -> None:
        """End the process in the midst of a job, before anything that it works on is taken away."""
        self._process.terminate()
        self._end()

    def _end(self) -> None:
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def side_by_side(queues: Mapping[Worker, Iterable[Job]], on_message: Callable[[Any], None]) -> None:
    """Have workers do their jobs, each one after the other, all workers at the same time.

    Args:
        queues: Worker → its jobs.
        on_message: Called with the messages of all jobs, in the order in which they come.

    Raises:
        WorkerError: A framework raised, or its process died.
    """
    jobs = {worker: iter(queue) for worker, queue in queues.items()}
    busy = [worker for worker in jobs if _start_next(worker, jobs)]
    while busy:
        ready = wait([worker.connection for worker in busy])
        for worker in [worker for worker in busy if worker.connection in ready]:
            kind, content = worker.receive()
            if kind == "message":
                on_message(content)
            elif not _start_next(worker, jobs):
                busy.remove(worker)


def _start_next(worker: Worker, jobs: Mapping[Worker, Iterator[Job]]) -> bool:
    job = next(jobs[worker], None)
    if job is None:
        return False
    worker.start(job)
    return True


def _demonstrate(
    name: str, remedied: bool, framework: protocol.Framework, on_epoch: Callable[[int], None]
) -> dict[str, Array]:
    return framework.demonstrate(name, remedied=remedied)


def _serve(connection: Connection, name: str, settings: Settings, accelerator: str) -> None:
    """What the process does: import, report, then one run after the other until the pipe closes."""
    # Ctrl-C reaches the whole process group; the parent decides and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Results alone go to stdout, and frameworks print what they like.
    os.dup2(2, 1)
    try:
        with _without_notes():
            start = time.perf_counter()
            framework = load(name)
            seconds = time.perf_counter() - start
            threads = settings.threads
            framework.configure(dtype=settings.dtype, threads=threads, accelerator=accelerator)
            report = {**framework.versions(), "accelerator": framework.accelerator()}
        connection.send(("ready", (report, seconds)))
        while True:
            job: Job = connection.recv()
            done = job(framework, lambda content: connection.send(("message", content)))
            connection.send(("done", done))
    except (EOFError, BrokenPipeError):
        return
    except CompareError as error:
        connection.send(("error", error))
    except Exception as error:
        traceback.print_exc()
        text = f"{name} raised {type(error).__name__}: {error} (its traceback is above)"
        connection.send(("error", WorkerError(text)))


@contextmanager
def _without_notes() -> Iterator[None]:
    """Drop the notes that libraries write to stderr while they start; keep the rest.

    TensorFlow tells of oneDNN and of absent GPUs before any log level applies; the manifest names
    the device. What is no note, and everything when the start fails, is written when the block
    ends.
    """
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if failed or not _NOTE.match(line):
                    os.write(2, line)
