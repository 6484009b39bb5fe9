"""How far two arrays are apart: every element looked at, and not a number never close."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Gap:
    """The largest difference between two arrays.

    Attributes:
        max_abs: Largest absolute difference; NaN where a value on either side is not a number,
            infinite where shapes differ.
        max_rel: Largest difference relative to the Keras value, over elements that are not zero.
        index: Where `max_abs` is; empty for scalars.
        keras: Value there in Keras.
        torch: Value there in Torch.
        scale: Largest finite absolute Keras value, at least 1: a tolerance is multiplied by it,
            since rounding grows with the values that are added up.
        note: What is wrong beside numbers, such as shapes that differ.
    """

    max_abs: float
    max_rel: float
    index: tuple[int, ...]
    keras: float
    torch: float
    scale: float
    note: str = ""

    @property
    def required(self) -> float:
        """The smallest tolerance that would have passed."""
        return self.max_abs / self.scale

    def within(self, tolerance: float) -> bool:
        """Whether the difference is at most `tolerance` times the scale. NaN never is."""
        return self.max_abs <= tolerance * self.scale

    def where(self) -> str:
        """Where the largest difference is, with both values."""
        if self.note:
            return self.note
        place = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        return f"{place} Keras {self.keras:.17g}, Torch {self.torch:.17g}".strip()


_BLOCK = 1 << 16
"""Elements that are compared at a time: what lies between stays in the processor's cache."""


def gap(keras: NDArray[Any], torch: NDArray[Any]) -> Gap:
    """Compare two arrays element by element, in float64."""
    if keras.shape != torch.shape:
        note = f"shape {keras.shape} in Keras, {torch.shape} in Torch"
        return Gap(math.inf, math.inf, (), math.nan, math.nan, 1.0, note)
    if keras.size == 0:
        return Gap(0.0, 0.0, (), math.nan, math.nan, 1.0)
    a, b = np.asarray(keras).reshape(-1), np.asarray(torch).reshape(-1)
    blocks = [_block(a, b, start) for start in range(0, a.size, _BLOCK)]
    # The first NaN where there is one, else the first of the largest.
    worst = next((x for x in blocks if math.isnan(x.apart)), max(blocks, key=_apart))
    relative = [x.relative for x in blocks if x.relative is not None]
    return Gap(
        max_abs=worst.apart,
        max_rel=float(np.max(relative)) if relative else (math.inf if worst.apart else 0.0),
        index=tuple(int(i) for i in np.unravel_index(worst.at, keras.shape)),
        keras=float(a[worst.at]),
        torch=float(b[worst.at]),
        scale=max(1.0, *(x.finite for x in blocks)),
    )


class _Block(NamedTuple):
    """Some elements: largest difference, where; that relative to Keras, and Keras' largest."""

    apart: float
    at: int
    relative: float | None
    finite: float


def _apart(block: _Block) -> float:
    return block.apart


def _block(a: NDArray[Any], b: NDArray[Any], start: int) -> _Block:
    ours = a[start : start + _BLOCK].astype(np.float64)
    apart = b[start : start + _BLOCK].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        np.abs(np.subtract(ours, apart, out=apart), out=apart)
        size = np.abs(ours, out=ours)
        # argmax finds the first NaN where there is one; infinite on both sides is NaN apart.
        at, largest = int(np.argmax(apart)), float(np.max(size))
        worst = float(apart[at])
        nonzero = size != 0
        relative = np.divide(apart, size, out=np.zeros_like(size), where=nonzero)
    if not math.isfinite(largest):
        # An infinite scale would let anything pass.
        largest = float(size[np.isfinite(size)].max(initial=0.0))
    return _Block(
        apart=worst,
        at=start + at,
        relative=float(np.max(relative)) if nonzero.any() else None,
        finite=largest,
    )
