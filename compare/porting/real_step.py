"""The trace is the user's own training: its first step is held against one that nobody watches."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.structures import Structure
from compare.errors import InputError
from compare.parity.tolerances import Gap, gap, unequal
from compare.porting.models import Side
from compare.trace import Trace

UNITS = 32
"""Units in the last place, of the largest value of a tensor, that both may be apart. They run the
same code: of both sides of eleven networks all but two had the same bits. One that XLA compiles,
which may fuse a step into what is before it, was 1.8 units off, one that adds up the gradients of
an embedding 0.7."""

_LEFT = re.compile(r"step/1/(weights|statistics|slots|optimizer)/")
"""What a step leaves."""


def check_real_step(
    side: Side,
    x: Structure,
    y: Structure,
    trace: Trace,
    rounding: Callable[[], Mapping[str, float]],
) -> None:
    """Raise `InputError` unless a real step leaves what the first traced step has left.

    Args:
        side: The side that was traced; it is left as it was found.
        x: Samples of the first step.
        y: Its targets.
        trace: The side's trace. One whose first step raised is not judged: it says so itself.
        rounding: Name of an array → tolerance that rounding in this network asks for, as an
            optimizer that divides by small gradients makes much of it. Called only if it matters.
    """
    left = set(filter(_LEFT.match, trace))
    if not left:
        return
    apart: dict[str, Gap] = {}

    def compare(path: str, real: NDArray[Any]) -> None:
        if path not in left:
            apart[path] = unequal("is there in the real step alone")
            return
        left.remove(path)
        traced = np.asarray(trace[path])
        # What is not a number on both sides is found by the ladder.
        if not np.array_equal(traced, real, equal_nan=True):
            difference = gap(traced, real)
            largest = np.abs(real).max(initial=0.0, where=np.isfinite(real))
            unit = np.finfo(real.dtype).eps if real.dtype.kind == "f" else 0.0
            if not difference.max_abs <= UNITS * unit * largest:
                apart[path] = difference

    side.progress("a step that nobody watches")
    side.real_step(x, y, compare)
    apart |= {path: unequal("is there in the traced step alone") for path in sorted(left)}
    if apart and all(math.isfinite(difference.max_abs) for difference in apart.values()):
        tolerances = rounding()
        apart = {
            path: difference
            for path, difference in apart.items()
            if not difference.within(tolerances.get(path, 0.0))
        }
    if not apart:
        return
    side.refuse_unrepeatable(x)
    path, difference = next(iter(apart.items()))
    raise InputError(
        f"the {side.name.capitalize()} side trains otherwise when it is watched, so that a check "
        f"would judge another training: {_LEFT.sub('', path)}{_where(difference)}."
    )


def _where(difference: Gap) -> str:
    """Where the first tensor differs, with both values."""
    if difference.note:
        both = difference.note.replace("Keras", "the traced step").replace("Torch", "the real one")
        return f" {both}"
    place = f"[{', '.join(map(str, difference.index))}]" if difference.index else ""
    traced, real = f"{difference.keras:.17g}", f"{difference.torch:.17g}"
    return f"{place} is {traced} in the traced step, {real} in the real one"
