"""A deep network carried over and checked, as a user does it: seconds and memory of one process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import psutil

from compare import frameworks
from compare.cost.plan import DEEP, PARITY_BYTES_TARGET, PARITY_SECONDS_TARGET, CostPlan, Sizes
from compare.ladder.checks import RUNGS, nan_last
from compare.port.check import check_parity
from compare.port.porting import PortReport, port_weights
from compare.port.report import ParityReport
from compare.spec import Settings
from compare.study.engine import Worker
from compare.study.records import json_number
from compare.usage import peak_bytes

_SGD = {"learning_rate": 0.01, "momentum": 0.9}
_CLASSES = 1000


def measure(plan: CostPlan, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """One row.

    Args:
        plan: Says how large the network is.
        say: Told what is under way.
    """
    settings = Settings(threads=cores())
    with Worker("keras", settings) as worker:
        say("parity: starting the frameworks")
        worker.ready()
        job = partial(checked, plan.sizes, settings)
        row = worker.call(job, lambda stage: say(f"parity: {stage}"))
        row["seconds"]["import"] += worker.import_seconds
        yield row


def cores() -> int:
    """Cores that this machine has."""
    return psutil.cpu_count() or 1


def checked(
    sizes: Sizes, settings: Settings, keras: frameworks.Framework, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Import what is missing, build, carry weights over, and climb the ladder, in this process.

    Args:
        sizes: Says how large the network is.
        settings: Dtype and threads.
        keras: Its loaded adapter.
        tell: Told every stage before it begins.
    """
    seconds: dict[str, float] = {}
    peaks: dict[str, int | None] = {}

    def stage(name: str, work: Callable[[], Any]) -> Any:
        tell(name)
        begin = time.perf_counter()
        found = work()
        seconds[name], peaks[name] = time.perf_counter() - begin, peak_bytes()
        return found

    torch = stage("import", partial(_torch, settings))
    model, module = stage(
        "build", lambda: [_built(side, sizes, settings) for side in (keras, torch)]
    )
    rng = np.random.default_rng(0)
    size = sizes.parity_pixels
    x = rng.normal(size=(sizes.parity_samples, size, size, 3)).astype(settings.dtype)
    y = rng.integers(0, _CLASSES, sizes.parity_samples)
    ported = stage("port", partial(port_weights, model, module, x=x))
    options: dict[str, Any] = {"steps": 1, "dtype": settings.dtype}
    report = stage("check", partial(check_parity, model, module, x, y, **options))
    return {
        "network": DEEP,
        **_sizes(ported),
        "samples": sizes.parity_samples,
        "pixels": size,
        "dtype": settings.dtype,
        "threads": settings.threads,
        "seconds": seconds,
        "peak_bytes": peaks,
        **_outcome(report),
        "target": {"seconds": PARITY_SECONDS_TARGET, "bytes": PARITY_BYTES_TARGET},
    }


def _torch(settings: Settings) -> frameworks.Framework:
    torch = frameworks.load("torch")
    torch.configure(dtype=settings.dtype, threads=settings.threads)
    return torch


def _built(framework: Any, sizes: Sizes, settings: Settings) -> frameworks.Handle:
    with framework.building(settings.dtype):
        return framework.build_classifier(
            blocks=sizes.parity_blocks,
            width=sizes.parity_width,
            size=sizes.parity_pixels,
            seed=0,
            sgd=_SGD,
        )


def _sizes(ported: PortReport) -> dict[str, int]:
    """Layers as the literature counts them, without shortcuts and norms, and trained values."""
    shapes = [
        shape
        for layer in ported.layers
        for name, shape in layer.tensors.items()
        if not name.startswith("moving_")
    ]
    counted = [x for x in ported.layers if x.kind != "batch_norm" and "_0_" not in x.keras]
    return {"layers": len(counted), "parameters": sum(map(math.prod, shapes))}


def _outcome(report: ParityReport) -> dict[str, Any]:
    """The verdict and, rung by rung, the largest difference and the share of a tolerance used."""
    apart: dict[str, float] = {}
    used: dict[str, float] = {}
    for check in (check for check in report.checks if check.rung >= 4):
        rung = RUNGS[check.rung]
        apart[rung] = max(apart.get(rung, 0.0), nan_last(check.gap.max_abs))
        used[rung] = max(used.get(rung, 0.0), nan_last(check.gap.required) / check.allowed)
    return {
        "passed": report.passed,
        "verdict": report.verdict(),
        "measured": report.measured,
        "differences": {rung: json_number(value) for rung, value in apart.items()},
        "of_tolerance": {rung: json_number(value) for rung, value in used.items()},
    }
