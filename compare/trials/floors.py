"""The noise floor of float32: how far Keras is from itself when XLA compiles the same steps.

Reruns and other thread counts show no noise at all; another order of rounding does. The floor of a
rung is the largest difference over all variants and seeds, relative to the scale of what is
compared, never a single seed's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from compare import environment
from compare.frameworks import Framework
from compare.ladder import rungs
from compare.ladder.checks import Ladder
from compare.ladder.tolerances import FLOAT64
from compare.parity.twins import lived_in_pair
from compare.spec import Settings
from compare.study.engine import Worker
from compare.study.runs import Run
from compare.traces import Trace, TraceWriter

RUNGS = (4, 5, 6, 7, 8, 9)


def measure(settings: Settings, progress: Callable[[Run], None]) -> dict[str, Any]:
    """Measure the floor of every rung.

    Args:
        settings: Variants and seeds; the dtype is float32 whatever it says.
        progress: Called with every run that is done.

    Returns:
        `{"float32": {rung: floor}, "measured": {…}}`, the content of `floors.json`.
    """
    settings = replace(settings, dtype="float32")
    floors = dict.fromkeys(RUNGS, 0.0)
    with Worker("keras", settings) as worker:
        worker.ready()
        for variant in settings.variants:
            for seed in range(settings.seeds):
                run = Run(variant, "keras", seed)
                for rung, floor in _floors(worker, run, settings).items():
                    floors[rung] = max(floors[rung], floor)
                progress(run)
    measured = {
        "how": "Keras with XLA against Keras without, largest difference over variants and seeds",
        "variants": list(settings.variants),
        "seeds": settings.seeds,
        "versions": environment.versions(),
        "cpu": environment.hardware()["cpu"],
    }
    return {"float32": {str(k): v for k, v in floors.items()}, "measured": measured}


def _floors(worker: Worker, run: Run, settings: Settings) -> Mapping[int, float]:
    ladder = Ladder(FLOAT64)
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
        folders = {jit: Path(scratch) / str(jit) for jit in (False, True)}
        for jit, folder in folders.items():
            worker.call(partial(trace_keras, run, settings, folder, jit))
        rungs.climb(ladder, *map(Trace.open, folders.values()))
    return {
        result.rung: result.required
        for result in ladder.results()
        if result.rung in RUNGS and result.required is not None
    }


def trace_keras(
    run: Run,
    settings: Settings,
    folder: Path,
    jit_compile: bool,
    framework: Framework,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> None:
    """Trace Keras' first steps, with or without XLA, into a folder."""
    handle, batches = lived_in_pair(run, settings, framework)
    writer = TraceWriter(folder)
    writer.close(framework.trace(handle, batches, writer, jit_compile=jit_compile))
