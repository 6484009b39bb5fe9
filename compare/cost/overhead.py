"""What the judge adds to `model.fit` and `Trainer.fit`: its callbacks on the clock, A against B.

A is a run at the idiomatic pace; B the same fit over the same batches with nobody watching. Both
take turns in one process, one framework at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from compare.cost.figures import compared, own_share
from compare.cost.plan import OVERHEAD_TARGET, CostPlan
from compare.frameworks import Framework
from compare.spec import FRAMEWORKS, Settings
from compare.study.clock import timed
from compare.study.engine import Worker
from compare.study.paces import Watch, execute
from compare.study.runs import Run, begin, views_of

WARM_UP_EPOCHS = 4

Round = dict[str, float]
"""Seconds per steady epoch: `judged` and `bare`; and between stamps: `around` and `nothing`."""


def measure(plan: CostPlan, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """A row per variant and framework.

    Args:
        plan: Variants, epochs and repetitions.
        say: Told what is under way.
    """
    settings = Settings(epochs=plan.sizes.overhead_epochs)
    for name in FRAMEWORKS:
        with Worker(name, settings) as worker:
            worker.ready()
            for variant in plan.of("overhead"):
                job = partial(interleaved, Run(variant, name, 0), settings, plan.repetitions)
                announce = partial(_announce, say, f"overhead: {variant}, {name}")
                yield _row(variant, name, worker.call(job, announce))


def _announce(say: Callable[[str], None], where: str, repetition: int) -> None:
    say(f"{where}: " + (f"repetition {repetition}" if repetition else "warming up"))


def _row(variant: str, name: str, rounds: list[Round]) -> dict[str, Any]:
    judged, bare = ([r[side] for r in rounds] for side in ("judged", "bare"))
    return {
        "variant": variant,
        "framework": name,
        **own_share(rounds),
        "target": OVERHEAD_TARGET,
        "judged_seconds": float(np.median(judged)),
        **compared(judged, bare),
        "rounds": rounds,
    }


def interleaved(
    run: Run,
    settings: Settings,
    repetitions: int,
    framework: Framework,
    tell: Callable[[int], None],
) -> list[Round]:
    """The fits of one variant in turns, in this process.

    Args:
        run: What to train.
        settings: How; `epochs` is the length of every fit, at least 4.
        repetitions: How often, after once that warms up.
        framework: The loaded adapter of `run.framework`.
        tell: Told every repetition before it begins, 0 for the warm-up.
    """
    rounds = []
    for repetition in range(repetitions + 1):
        tell(repetition)
        shorter = replace(settings, epochs=WARM_UP_EPOCHS)
        now = settings if repetition else shorter
        # Who begins alternates, so that a machine that slows down troubles all alike.
        sides = list(_SIDES.items()) if repetition % 2 else list(reversed(_SIDES.items()))
        found = {
            name: timed(partial(side, run, now, framework), may_fail=False) for name, side in sides
        }
        rounds.append({name: float(np.median(found[name]["seconds"])) for name in _SIDES})
    return rounds[1:]


def _judged(run: Run, settings: Settings, framework: Framework) -> dict[str, Any]:
    record = execute(run, settings, framework).record
    return {"seconds": record["epoch_seconds"][1:]}


def _bare(run: Run, settings: Settings, framework: Framework) -> dict[str, Any]:
    begins = _planned(run, settings, framework)["epoch_begins"]
    return {"seconds": np.diff(begins)[1:]}


def _around(run: Run, settings: Settings, framework: Framework) -> dict[str, Any]:
    return {"seconds": _planned(run, settings, framework, judged=True)["own_seconds"][1:]}


def _nothing(run: Run, settings: Settings, framework: Framework) -> dict[str, Any]:
    return {"seconds": _planned(run, settings, framework, judged=False)["own_seconds"][1:]}


_SIDES = {"judged": _judged, "bare": _bare, "around": _around, "nothing": _nothing}


def _planned(
    run: Run, settings: Settings, framework: Framework, *, judged: bool | None = None
) -> dict[str, list[float]]:
    """A fit in planned orders: bare, or between two stamps with the judge's callback or without."""
    views = views_of(run.variant, settings)
    handle, start = begin(run, settings, framework)
    watch = Watch(run, settings, framework, handle, lambda epoch: None) if judged else None
    return framework.time_planned(
        handle,
        (views.train, views.y_train),
        orders=start.orders,
        batch_size=settings.batch_size,
        bracketed=judged is not None,
        on_epoch=watch,
    )
