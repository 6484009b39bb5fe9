"""The fast pace against the same training written by hand, without the judge: seconds per epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.cost.figures import compared, steady
from compare.cost.plan import BARE_TARGET, CostPlan
from compare.data import Array
from compare.frameworks import Framework, Handle
from compare.spec import FRAMEWORKS, VARIANTS, Settings
from compare.study.clock import timed
from compare.study.engine import Worker
from compare.study.paces import execute_many
from compare.study.runs import Outcome, Run, begin, epoch_values, views_of


def measure(plan: CostPlan, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """A row per variant and framework.

    Args:
        plan: Variants, seeds, epochs and repetitions.
        say: Told what is under way.
    """
    for name in FRAMEWORKS:
        with Worker(name, Settings()) as worker:
            worker.ready()
            for variant in plan.of("bare"):
                seeds = plan.sizes.bare_seeds[VARIANTS[variant].view]
                # The first epoch compiles, and enters no figure.
                settings = Settings(seeds=seeds, epochs=1 + plan.sizes.bare_epochs, pace="fast")
                job = partial(interleaved, variant, name, settings, plan.repetitions)
                announce = partial(_announce, say, f"bare: {variant}, {name}")
                fast, bare = worker.call(job, announce)
                yield {
                    "variant": variant,
                    "framework": name,
                    "seeds": seeds,
                    "fast_seconds": float(np.median(fast)),
                    "bare_seconds": float(np.median(bare)),
                    **compared(fast, bare),
                    "target": BARE_TARGET,
                    "pairs": [list(pair) for pair in zip(fast, bare, strict=True)],
                }


def _announce(say: Callable[[str], None], where: str, content: Any) -> None:
    if isinstance(content, int):
        say(f"{where}: " + (f"repetition {content}" if content else "compiling, warming up"))


def interleaved(
    variant: str,
    name: str,
    settings: Settings,
    repetitions: int,
    framework: Framework,
    tell: Callable[[Any], None],
) -> tuple[list[float], list[float]]:
    """Seconds per steady epoch of the fast pace and of the bare loop, in turns, in this process.

    Args:
        variant: What to train.
        name: Name of the framework.
        settings: How, and with how many seeds; `epochs` is the length of every fit, at least 3.
        repetitions: How often, after once that compiles and warms up.
        framework: Its loaded adapter.
        tell: Told every repetition before it begins, 0 for the warm-up, and what a study is told.
    """
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        "fast": partial(_fast, variant, name, settings, _CompiledOnce(framework), tell),
        "bare": _Bare(variant, name, settings, framework),
    }
    found: dict[str, list[float]] = {side: [] for side in sides}
    for repetition in range(repetitions + 1):
        tell(repetition)
        # Who begins alternates, so that a machine that slows down troubles both alike.
        for side in sides if repetition % 2 else reversed(sides):
            found[side].append(timed(sides[side], may_fail=False)["seconds"])
    return found["fast"][1:], found["bare"][1:]


class _CompiledOnce:
    """A framework that compiles a program for many seeds once, however often it is asked to."""

    def __init__(self, framework: Framework) -> None:
        self._framework, self._program = framework, None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._framework, name)

    def compile_many(self, *arguments: Any, **options: Any) -> Handle:
        if self._program is None:
            self._program = self._framework.compile_many(*arguments, **options)
        return self._program


def _fast(
    variant: str, name: str, settings: Settings, framework: Any, tell: Callable[[Any], None]
) -> dict[str, float]:
    ends: list[float] = []

    def told(content: Any) -> None:
        tell(content)
        if not isinstance(content, Outcome):
            ends.append(time.perf_counter())

    execute_many(variant, name, settings, framework, told)
    return {"seconds": steady(ends)}


class _Bare:
    """The bare loop of a framework, with the metrics that a study notes of every epoch."""

    def __init__(self, variant: str, name: str, settings: Settings, framework: Framework) -> None:
        self._views = views_of(variant, settings)
        self._runs = [Run(variant, name, seed) for seed in range(settings.seeds)]
        self._settings, self._framework = settings, framework
        self._model, _ = begin(self._runs[0], settings, framework)
        self._fit = framework.bare_loop(
            self._model,
            (self._views.train, self._views.y_train),
            batch_size=settings.batch_size,
            views=self._views.evaluated(variant),
        )

    def __call__(self) -> dict[str, float]:
        ends: list[float] = []
        size = self._settings.batch_size

        def on_epoch(losses: Array, shares: Array, seen: Mapping[str, Array]) -> None:
            epoch_values(seen, self._views, (losses, shares), batch_size=size)
            ends.append(time.perf_counter())

        for _ in self._fit(self._starts(), on_epoch=on_epoch):
            pass
        return {"seconds": steady(ends)}

    def _starts(self) -> Iterator[tuple[Handle, NDArray[np.int64]]]:
        for run in self._runs:
            _, start = begin(run, self._settings, self._framework, reuse=self._model)
            yield self._model, start.orders
