"""How runs are executed: one at a time by the framework's own loop, or many seeds at once.

`execute` is what a user of the framework writes, and holds the clock of a run: it runs while the
framework trains and stands while epochs are evaluated. `execute_many` gives the same records, but
for the seconds.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.protocol import EventLog, Framework, Handle
from compare.data import Array
from compare.resources import OtherPrograms, peak_bytes
from compare.spec import VARIANTS, Run, Settings
from compare.study.events import folder_of, tagged
from compare.study.runs import Outcome, Start, begin, epoch_values, outcome, prepare, views_of

Told = tuple[Sequence[Run], int] | Outcome
"""A message on the way: runs under way with the number of epochs that they have behind them, or
what a finished run leaves."""

SEEDS_AT_ONCE: Mapping[str, int] = {"vector": 100, "sequence": 50, "image": 10}
"""View of a variant → seeds that train together. More are no faster, take more memory, and are lost
together when a study is interrupted."""


def execute(
    run: Run,
    settings: Settings,
    framework: Framework,
    on_epoch: Callable[[int], None] = lambda epoch: None,
    *,
    record_weights: bool = False,
    events: Path | None = None,
) -> Outcome:
    """Train and evaluate one run in this process, at the idiomatic pace.

    Args:
        run: What to train.
        settings: How.
        framework: The loaded adapter of `run.framework`, configured for the dtype.
        on_epoch: Called after every epoch with its number, counted from 1.
        record_weights: Whether to keep all weights and moving statistics after every epoch.
        events: Folder of the event files of all runs; None to write none.
    """
    views = views_of(run.variant, settings)
    handle, start = begin(run, settings, framework)
    with ExitStack() as stack:
        log = None
        if events is not None:
            log = framework.event_log(handle, str(folder_of(run, events)))
            stack.enter_context(closing(log))
        watch = _Watch(run, settings, framework, handle, on_epoch, log, record_weights)
        framework.train(
            handle,
            (views.train, views.y_train),
            orders=start.orders,
            batch_size=settings.batch_size,
            on_epoch=watch,
        )
    trained = replace(
        outcome(start, settings, framework, handle, watch.history),
        trajectory={name: np.stack(tensors) for name, tensors in watch.weights.items()},
    )
    trained.record["epoch_seconds"] = watch.seconds
    return trained


class _Watch:
    """Called at the end of every epoch: stops the clock, evaluates, logs, starts it again."""

    def __init__(
        self,
        run: Run,
        settings: Settings,
        framework: Framework,
        handle: Handle,
        on_epoch: Callable[[int], None],
        log: EventLog | None,
        record_weights: bool,
    ) -> None:
        self._framework, self._handle, self._on_epoch = framework, handle, on_epoch
        self._views, self._batch_size = views_of(run.variant, settings), settings.batch_size
        self._evaluated = self._views.evaluated(run.variant)
        self._log, self._record_weights = log, record_weights
        self.history: dict[str, list[float]] = {}
        self.seconds: list[float] = []
        self.weights: dict[str, list[Array]] = {}
        self._start = time.perf_counter()

    def __call__(self, running_loss: float, running_accuracy: float) -> None:
        self.seconds.append(time.perf_counter() - self._start)
        seen = {
            name: self._framework.predict_proba(self._handle, x, batch_statistics=mode)[np.newaxis]
            for name, (x, mode) in self._evaluated.items()
        }
        running = np.array([running_loss]), np.array([running_accuracy])
        columns = epoch_values(seen, self._views, running, batch_size=self._batch_size)
        values = {name: float(value) for name, (value,) in columns.items()}
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
        if self._record_weights:
            for name, tensor in self._framework.read_weights(self._handle).items():
                self.weights.setdefault(name, []).append(tensor)
        if self._log is not None:
            self._log.write(len(self.seconds), tagged(values))
        self._on_epoch(len(self.seconds))
        self._start = time.perf_counter()


def execute_many(
    variant: str,
    name: str,
    settings: Settings,
    framework: Framework,
    tell: Callable[[Told], None],
) -> None:
    """Train and evaluate all seeds of a study for one variant, at the fast pace.

    Args:
        variant: What to train.
        name: Name of the framework.
        settings: How, and with how many seeds.
        framework: Its loaded adapter, configured for the dtype.
        tell: Called after every epoch, and with every outcome.
    """
    views = views_of(variant, settings)
    runs = [Run(variant, name, seed) for seed in range(settings.seeds)]
    model, _ = begin(runs[0], settings, framework)
    program = framework.compile_many(
        model,
        (views.train, views.y_train),
        batch_size=settings.batch_size,
        views=views.evaluated(variant),
    )
    size = SEEDS_AT_ONCE[VARIANTS[variant].view]
    for first in range(0, len(runs), size):
        _train_group(runs[first : first + size], model, program, settings, framework, tell)


def _train_group(
    runs: Sequence[Run],
    model: Handle,
    program: Any,
    settings: Settings,
    framework: Framework,
    tell: Callable[[Told], None],
) -> None:
    """Train runs together; `model` may be written over."""
    views = views_of(runs[0].variant, settings)
    starts: list[Start] = []
    histories: list[dict[str, list[float]]] = [{} for _ in runs]

    def models() -> Iterator[tuple[Handle, NDArray[np.int64]]]:
        handle = model
        for run in runs:
            handle, start = begin(run, settings, framework, reuse=handle)
            starts.append(start)
            yield handle, start.orders

    def on_epoch(losses: Array, accuracies: Array, seen: Mapping[str, Array]) -> None:
        running = losses, accuracies
        columns = epoch_values(seen, views, running, batch_size=settings.batch_size)
        for name, column in columns.items():
            for history, value in zip(histories, column.tolist(), strict=True):
                history.setdefault(name, []).append(value)
        tell((runs, len(histories[0]["test_loss"])))

    trained = framework.fit_many(program, models(), on_epoch=on_epoch)
    for place, handle in enumerate(trained):
        tell(outcome(starts[place], settings, framework, handle, histories[place]))


def time_once(
    run: Run,
    settings: Settings,
    configuration: str,
    may_fail: bool,
    framework: Framework,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> dict[str, Any]:
    """One fit of a fresh model with the exact initial weights, in this process.

    Args:
        run: What to train.
        settings: How; `epochs` is the length of the fit.
        configuration: A name from the framework's `configurations`.
        may_fail: Whether an error is a result, instead of the end.
        framework: The loaded adapter of `run.framework`.
        on_epoch: Not called: a message would take time.

    Returns:
        `first_step`, `epoch_ends` and `note`, or `error`; `other_cores`: these are described at
        `compare.timing.records.Sample`; and `peak`, the process' peak memory in bytes.
    """
    views = views_of(run.variant, settings)
    handle, _, _ = prepare(run, settings, framework)
    data = {"train": (views.train, views.y_train), "test": (views.test, views.y_test)}
    fit = partial(
        framework.time_fit,
        handle,
        data,
        configuration=configuration,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
    )
    with OtherPrograms() as others:
        fields = timed(fit, may_fail=may_fail)
    return {**fields, "other_cores": others.cores, "peak": peak_bytes()}


def timed(fit: Callable[[], dict[str, Any]], *, may_fail: bool) -> dict[str, Any]:
    """What a fit returns, with no garbage collection while it runs.

    Args:
        fit: The fit.
        may_fail: Whether to return `{"error": its first line}` where it raises.
    """
    gc.collect()
    gc.disable()
    try:
        return fit()
    except Exception as error:
        if not may_fail:
            raise
        first = next(iter(str(error).splitlines()), "")
        return {"error": f"{type(error).__name__}: {first}"[:300]}
    finally:
        gc.enable()
