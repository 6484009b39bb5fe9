"""The trace is the user's own training: its first step is held against one that nobody watches."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.structures import Structure
from compare.errors import InputError
from compare.porting.models import Side
from compare.trace import Trace

UNITS = 32
"""Units in the last place, of the largest value of a tensor, that both may be apart. They run the
same code; of the eleven networks of the tests ten had the same bits. One that XLA compiles, which
may fuse a step into what is before it, was 3 units off."""

_LEFT = re.compile(r"step/1/(weights|statistics|slots|optimizer)/")
"""What a step leaves."""


def check_real_step(side: Side, x: Structure, y: Structure, trace: Trace) -> None:
    """Raise `InputError` unless a real step leaves what the first traced step has left.

    Args:
        side: The side that was traced; it is left as it was found.
        x: Samples of the first step.
        y: Its targets.
        trace: The side's trace. One whose first step raised is not judged: it says so itself.
    """
    if not any(map(_LEFT.match, trace)):
        return
    real: dict[str, str] = {}

    def compare(path: str, array: NDArray[Any]) -> None:
        real[path] = _apart(trace, path, array)

    side.real_step(x, y, compare)
    missing = (path for path in trace if _LEFT.match(path) and path not in real)
    reasons = [reason for reason in real.values() if reason]
    reasons += [f"{_LEFT.sub('', path)} is there in the traced step alone" for path in missing]
    if not reasons:
        return
    side.refuse_unrepeatable(x)
    raise InputError(
        f"the {side.name.capitalize()} side trains otherwise when it is watched, so that a check "
        f"would judge another training: {reasons[0]}."
    )


def _apart(trace: Trace, path: str, real: NDArray[Any]) -> str:
    """Where an array differs from the traced one, with both values; empty where it does not."""
    name = _LEFT.sub("", path)
    if path not in trace:
        return f"{name} is there in the real step alone"
    traced = np.asarray(trace[path])
    if traced.shape != real.shape:
        return f"{name} has shape {traced.shape} in the traced step, {real.shape} in the real one"
    # What is not a number on both sides is found by the ladder.
    same = (traced == real) | ((traced != traced) & (real != real))
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.where(same, 0.0, np.abs(np.subtract(traced, real, dtype=np.float64)))
    unit = np.finfo(real.dtype).eps if real.dtype.kind == "f" else 0.0
    largest = np.abs(real).max(initial=0.0, where=np.isfinite(real))
    if np.all(gaps <= UNITS * unit * largest):
        return ""
    at = np.unravel_index(int(np.argmax(gaps)), gaps.shape)
    place = f"[{', '.join(map(str, at))}]" if at else ""
    return f"{name}{place} is {traced[at]:.17g} in the traced step, {real[at]:.17g} in the real one"
