"""What rounding does in a network: tolerances measured on Torch's side itself."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from compare.backends.protocol import Batches, Sink, Start
from compare.backends.structures import mapped
from compare.parity.tolerances import gap
from compare.porting.models import Side, TorchSide
from compare.trace import Layer, Trace, split

_FORWARD = re.compile(r"training/|step/\d+/(loss|statistics|prediction)")
_STEPPED = re.compile(r"step/|evaluation/|prediction")

MARGIN, BACK_MARGIN = 8.0, 16.0
"""How far above what was measured Keras and Torch may be apart: they add up in another order, at
every operation, where the measurement disturbs each weight once. Over three draws of the weights of
a residual network of 50 layers they were up to 2.2 times as far apart forward, and 10.9 times on
the way back, where a unit at its kink lets a gradient through on one side alone."""

DRAWS = 2
"""A single disturbance may cancel by chance in what is one number, such as the loss."""

LEAST = 64
"""Units in the last place that optimizers may add: they round constants of their own, such as
Adam's powers of 0.999. Over eleven small networks that was up to 50 units."""

CEILING: Mapping[str, float] = {
    # A learning rate or a momentum that was rounded to float32 costs some 1e-8.
    "float64": 1e-10,
    # An epsilon of 1e-5 instead of 1e-3 costs some 5e-4 of a normalized value.
    "float32": 1e-2,
}
"""The largest tolerance that rounding may ask for: beyond it a mistake would pass as noise."""

SINGLE_CEILING = 1e-4
"""The same where numbers of float64 were rounded to float32 somewhere: no more than that costs."""

BACK_CEILING: Mapping[str, float] = {"float64": 1e-10, "float32": 0.1}
"""The same of what comes after the forward pass. Rounding moves gradients of 50 layers in float32
by 5e-2: a mistake there that is smaller shows in float64 alone."""

_GIVEN = re.compile(r"initial/|step/\d+/(data|rule)/|step/1/optimizer/|error$")
"""What is an input, not computed, or not compared."""


_Side = TypeVar("_Side", bound=Side)


def measure(
    side: TorchSide,
    batches: Batches,
    trace: Trace,
    start: Start | None = None,
    *,
    single: bool = False,
) -> dict[str, float]:
    """Name of an array → the tolerance that rounding in this network asks for.

    Args:
        side: Torch's side.
        batches: Those that were traced.
        trace: Their trace.
        start: What the traced steps started from.
        single: Whether to round to float32, whatever the dtype of the side.
    """
    dtype = "float32" if single else side.dtype

    def rounded(running: TorchSide, draw: int, floors: Sink) -> None:
        with running.framework.rounded_otherwise(draw, dtype):
            running.stream(batches, floors, start)

    ceiling = SINGLE_CEILING if single else math.inf
    measured = _measured(side, rounded, trace, dtype)
    return {path: min(tolerance, ceiling) for path, tolerance in measured.items()}


def shaken(side: Side, batches: Batches, trace: Trace) -> dict[str, float]:
    """The same of either side, with weights and samples alone a unit in the last place off.

    Args:
        side: A side; what its steps start from is disturbed, and put back.
        batches: Those that were traced.
        trace: Their trace.
    """
    rng = np.random.default_rng(0)
    initial = {split(k)[1]: np.asarray(trace[k]) for k in trace if k.startswith("initial/")}

    def disturbed(step: int, layers: Sequence[Layer]) -> dict[str, NDArray[Any]]:
        return {name: jog(weight, rng) for name, weight in initial.items()} if step == 1 else {}

    def moved(running: Side, draw: int, floors: Sink) -> None:
        samples = [(mapped(lambda a: jog(np.asarray(a), rng), x), y) for x, y in batches]
        running.stream(samples, floors, disturbed)

    return _measured(side, moved, trace, side.dtype)


def _measured(
    side: _Side, run: Callable[[_Side, int, Sink], None], trace: Trace, dtype: str
) -> dict[str, float]:
    """Name of an array → tolerance, from the largest difference over some disturbed runs."""
    worst: dict[str, float] = {}
    for draw in range(DRAWS):
        floors = _Floors(trace)
        run(side.during(f"measuring rounding, run {draw + 1} of {DRAWS}"), draw, floors)
        for path, floor in floors.required.items():
            worst[path] = max(worst.get(path, 0.0), floor)
    return {path: _tolerance(path, floor, dtype) for path, floor in worst.items()}


def jog(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Every floating value moved to its neighbour, up or down; whole numbers as they are."""
    if array.dtype.kind != "f":
        return array
    towards = np.where(rng.integers(0, 2, array.shape), np.inf, -np.inf).astype(array.dtype)
    # The neighbour of zero is no rounding error, and what is zero stays so.
    return np.where(array == 0, array, np.nextafter(array, towards))


def _tolerance(path: str, floor: float, dtype: str) -> float:
    if _FORWARD.match(path):
        return min(MARGIN * floor, CEILING[dtype])
    least = LEAST * float(np.finfo(dtype).eps) if _STEPPED.match(path) else 0.0
    return min(max(BACK_MARGIN * floor, least), BACK_CEILING[dtype])


class _Floors:
    """A sink: how far arrays are from those of a trace, without keeping them."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.required: dict[str, float] = {}

    def __call__(self, path: str, array: NDArray[Any]) -> None:
        if path in self._trace and not _GIVEN.match(path):
            self.required[path] = gap(self._trace[path], array).required

    def alias(self, path: str, existing: str) -> None:
        # What is one array here is one array there: the module is the same.
        if path in self._trace and existing in self.required:
            self.required[path] = self.required[existing]
