"""The default study at both paces: the fast one whole, the idiomatic one from a part of it."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from compare.cost.figures import extrapolated, side_by_side
from compare.cost.jobs import Stamps, stamped, started, together
from compare.cost.plan import CostPlan
from compare.spec import FRAMEWORKS, Settings
from compare.study.grid import run_study
from compare.study.runs import Run
from compare.usage import peak_bytes


def measure(plan: CostPlan, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row: seconds of both paces, imports included, and peak memory.

    Args:
        plan: Variants, seeds and epochs.
        say: Told what is under way.
    """
    sizes = plan.sizes
    settings = Settings(
        variants=plan.of("study"), seeds=sizes.study_seeds, epochs=sizes.study_epochs, pace="fast"
    )
    fast, peaks = _whole(settings, say)
    start, runs = _sample(settings, sizes.sampled_epochs, say)
    by_framework = {
        name: sum(
            settings.seeds * extrapolated(stamps, settings.epochs)
            for (framework, _), stamps in runs.items()
            if framework == name
        )
        for name in FRAMEWORKS
    }
    idiomatic = start + side_by_side(by_framework)
    row = {
        "variants": list(settings.variants),
        "seeds": settings.seeds,
        "epochs": settings.epochs,
        "sampled_epochs": sizes.sampled_epochs,
        "start_seconds": start,
        "fast_seconds": fast,
        "idiomatic_seconds": idiomatic,
        "idiomatic_by_framework": by_framework,
        "ratio": idiomatic / fast,
        "peak_bytes": peaks,
    }
    return [row]


def _whole(settings: Settings, say: Callable[[str], None]) -> tuple[float, dict[str, int | None]]:
    """Seconds of the study at the fast pace, and the peak memory of every process in bytes."""
    peaks: dict[str, int | None] = {}
    done = 0

    def progress(run: Run, epochs: int) -> None:
        nonlocal done
        if epochs < settings.epochs:
            return
        done += 1
        # The last run that is saved finds both processes at their largest, and alive.
        for child in multiprocessing.active_children():
            framework = child.name.removeprefix("bn-compare-")
            if framework in FRAMEWORKS:
                peaks[framework] = peak_bytes(child.pid)
        if run.seed == settings.seeds - 1:
            say(f"study, fast: {run.variant}, {run.framework}, {done} runs are saved")

    say("study, fast: starting the frameworks")
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
        begin = time.perf_counter()
        run_study(settings, Path(scratch) / "run", progress=progress)
        seconds = time.perf_counter() - begin
    return seconds, {**peaks, "parent": peak_bytes()}


def _sample(
    settings: Settings, epochs: int, say: Callable[[str], None]
) -> tuple[float, dict[tuple[str, str], Stamps]]:
    """Seconds until both frameworks are imported, and stamps of seed 0 by framework and variant."""
    shorter = Settings(variants=settings.variants, epochs=epochs)
    with ExitStack() as stack:
        say("study, idiomatic: starting the frameworks")
        workers, start = started(shorter, stack)
        jobs = {
            worker: [partial(stamped, Run(v, name, 0), shorter) for v in settings.variants]
            for name, worker in workers.items()
        }
        told = together(jobs, lambda run: say(f"study, idiomatic: {run.variant}, {run.framework}"))
    return start, {(run.framework, run.variant): stamps for run, stamps in told}
