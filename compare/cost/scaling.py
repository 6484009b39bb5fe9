"""The fast pace against the number of seeds and of epochs: seconds and peak memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from compare.cost.jobs import measured_many, started
from compare.cost.plan import CostPlan
from compare.spec import Settings
from compare.study.engine import side_by_side


def measure(plan: CostPlan, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """A row per variant and size, each in two new processes, which alone have a peak of their own.

    Args:
        plan: Variants, seeds and epochs.
        say: Told what is under way.
    """
    sizes = plan.sizes
    grid = [(seeds, sizes.study_epochs) for seeds in sizes.scaling_seeds]
    grid += [(sizes.study_seeds, epochs) for epochs in sizes.scaling_epochs]
    for variant in plan.of("scaling"):
        for seeds, epochs in dict.fromkeys(grid):
            say(f"scaling: {variant}, {seeds} seeds, {epochs} epochs")
            settings = Settings(seeds=seeds, epochs=epochs, pace="fast")
            yield {"variant": variant, **_measured(variant, settings)}


def _measured(variant: str, settings: Settings) -> dict[str, Any]:
    by_framework: dict[str, float] = {}
    peaks: dict[str, int | None] = {}

    def told(content: Any) -> None:
        if isinstance(content, tuple) and len(content) == 3:
            name, seconds, peak = content
            by_framework[name], peaks[name] = seconds, peak

    with ExitStack() as stack:
        workers, start = started(settings, stack)
        jobs = {w: [partial(measured_many, variant, n, settings)] for n, w in workers.items()}
        begin = time.perf_counter()
        side_by_side(jobs, told)
        seconds = time.perf_counter() - begin
    return {
        "seeds": settings.seeds,
        "epochs": settings.epochs,
        "seconds": seconds,
        "start_seconds": start,
        "by_framework": by_framework,
        "peak_bytes": peaks,
    }
