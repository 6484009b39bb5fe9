"""Time per step of an MLP with batch normalization as its batch or its width grows."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np

from compare.backends.protocol import Framework
from compare.spec import FRAMEWORKS, Settings
from compare.study.clock import timed
from compare.study.engine import Worker
from compare.timing.measure import Say, configurations, start
from compare.timing.samples import Measurements, Plan, Point

SIZES = {
    "batch_size": (8, 24, 64, 184, 512, 1448, 4096),
    "units": (50, 108, 232, 500, 1077, 2320, 5000),
}
BASE = {"batch_size": 32, "units": 50}
STEPS, EPOCHS = 16, 4
BUDGET_SECONDS = 90.0


def measure_scaling(
    plan: Plan, measurements: Measurements, *, save: Callable[[], None], say: Say
) -> None:
    """Time the idiomatic fit and the floors over all sizes, frameworks in turns.

    Args:
        plan: dtype, threads and device.
        measurements: Receives the points, and a line in `left_out` where time ran out.
        save: Called after every size.
        say: Told what is under way.
    """
    with ExitStack() as stack:
        say("scaling: starting the frameworks")
        workers = start(plan, stack, measurements)
        kinds = {
            name: {c: k for c, k in worker.call(configurations).items() if k != "tuned"}
            for name, worker in workers.items()
        }
        begin = time.monotonic()
        # From small to large on both axes at once: where time runs out, large sizes are missing.
        for pair in zip(
            *([(a, size) for size in sizes] for a, sizes in SIZES.items()), strict=True
        ):
            for axis, size in pair:
                if time.monotonic() - begin > BUDGET_SECONDS:
                    measurements.left_out.append(
                        f"scaling: {axis} {size}, {BUDGET_SECONDS:g} seconds had passed"
                    )
                    continue
                say(f"scaling: {axis} {size}")
                for name in FRAMEWORKS:
                    measurements.points += _points(workers[name], kinds[name], axis, size, plan)
                save()


def _points(worker: Worker, kinds: dict[str, str], axis: str, size: int, plan: Plan) -> list[Point]:
    points = []
    for configuration, kind in kinds.items():
        found = worker.call(partial(step_seconds, axis, size, plan.settings, configuration))
        points.append(Point(worker.name, configuration, kind, axis, size, found))
    return points


def step_seconds(
    axis: str,
    size: int,
    settings: Settings,
    configuration: str,
    framework: Framework,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> float:
    """Seconds per step at one size, the median over epochs from the second on.

    Args:
        axis: A key of `SIZES`; the other one stays at its `BASE`.
        size: Samples per batch, or hidden units.
        settings: dtype, and SGD.
        configuration: A name from the framework's `configurations`.
        framework: A loaded adapter.
        on_epoch: Not called.
    """
    chosen = {**BASE, axis: size}
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS * chosen["batch_size"], 2)).astype(settings.dtype)
    y = (np.hypot(*x.T) < 1.0).astype(settings.dtype)
    handle = framework.build(
        "mlp",
        {"batch_norm": "after", "units": chosen["units"]},
        seed=0,
        sgd={"learning_rate": settings.learning_rate, "momentum": settings.sgd_momentum},
        undone=(),
    )
    fit = partial(
        framework.time_fit,
        handle,
        {"train": (x, y), "test": (x, y)},
        configuration=configuration,
        epochs=EPOCHS,
        batch_size=chosen["batch_size"],
    )
    ends = timed(fit, may_fail=False)["epoch_ends"]
    return float(np.median(np.diff(ends))) / STEPS
