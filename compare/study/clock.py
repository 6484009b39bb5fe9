"""One fit under the clock, as a user writes it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

from compare.backends.protocol import Framework
from compare.spec import Settings
from compare.study.runs import Run, prepare, views_of
from compare.usage import OtherPrograms, peak_bytes


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
        `compare.timing.samples.Sample`; and `peak`, the process' peak memory in bytes.
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
        found = timed(fit, may_fail=may_fail)
    return {**found, "other_cores": others.cores, "peak": peak_bytes()}


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
