"""Many seeds of every variant: the fast pace against the idiomatic one, from a few of its seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from compare.cost.figures import of_seeds, side_by_side
from compare.cost.jobs import stamped, started, together
from compare.cost.plan import CostPlan
from compare.spec import FRAMEWORKS, VARIANTS, Settings
from compare.study.engine import Worker
from compare.study.engine import side_by_side as work_side_by_side
from compare.study.paces import execute_many
from compare.study.runs import Run


def measure(plan: CostPlan, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """A row per variant, both frameworks at the same time at either pace.

    Args:
        plan: Variants, seeds and epochs.
        say: Told what is under way.
    """
    with ExitStack() as stack:
        say("variants: starting the frameworks")
        workers, _ = started(Settings(), stack)
        for variant in plan.of("variants"):
            seeds = plan.many(variant)
            say(f"variants: {variant}, {seeds} seeds at the fast pace")
            fast = _fast(workers, variant, seeds, plan.sizes.study_epochs)
            few = plan.sizes.few_epochs[VARIANTS[variant].view]
            shorter = Settings(seeds=min(plan.sizes.few_seeds, seeds), epochs=few)
            say(f"variants: {variant}, {shorter.seeds} seeds at the idiomatic pace")
            runs = _few(workers, variant, shorter, say)
            by_framework = {
                name: of_seeds(runs[name], epochs=plan.sizes.study_epochs, seeds=seeds)
                for name in FRAMEWORKS
            }
            idiomatic = side_by_side(by_framework)
            yield {
                "variant": variant,
                "seeds": seeds,
                "epochs": plan.sizes.study_epochs,
                "few_seeds": shorter.seeds,
                "few_epochs": few,
                "fast_seconds": fast,
                "idiomatic_seconds": idiomatic,
                "idiomatic_by_framework": by_framework,
                "ratio": idiomatic / fast,
            }


def _fast(workers: dict[str, Worker], variant: str, seeds: int, epochs: int) -> float:
    settings = Settings(seeds=seeds, epochs=epochs, pace="fast")
    jobs = {w: [partial(execute_many, variant, n, settings)] for n, w in workers.items()}
    begin = time.perf_counter()
    work_side_by_side(jobs, lambda content: None)
    return time.perf_counter() - begin


def _few(
    workers: dict[str, Worker], variant: str, settings: Settings, say: Callable[[str], None]
) -> dict[str, list[list[float]]]:
    """Stamps of every seed, by framework."""
    jobs = {
        worker: [
            partial(stamped, Run(variant, name, seed), settings) for seed in range(settings.seeds)
        ]
        for name, worker in workers.items()
    }
    found: dict[str, list[list[float]]] = {name: [] for name in FRAMEWORKS}
    done = together(jobs, lambda r: say(f"variants: {variant}, {r.framework}, seed {r.seed} done"))
    for run, stamps in done:
        found[run.framework].append(stamps)
    return found
