"""How far two arrays are apart: every element looked at, and not a number never close."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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


def gap(keras: NDArray[Any], torch: NDArray[Any]) -> Gap:
    """Compare two arrays element by element, in float64."""
    if keras.shape != torch.shape:
        note = f"shape {keras.shape} in Keras, {torch.shape} in Torch"
        return Gap(math.inf, math.inf, (), math.nan, math.nan, 1.0, note)
    if keras.size == 0:
        return Gap(0.0, 0.0, (), math.nan, math.nan, 1.0)
    a, b = np.asarray(keras, dtype=np.float64), np.asarray(torch, dtype=np.float64)
    nonzero = a != 0
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(a - b)
        relative = apart[nonzero] / np.abs(a[nonzero])
    # argmax finds the first NaN where there is one; infinite on both sides is NaN apart.
    index = np.unravel_index(int(np.argmax(apart)), apart.shape)
    return Gap(
        max_abs=float(apart[index]),
        max_rel=float(relative.max()) if relative.size else (math.inf if apart.any() else 0.0),
        index=tuple(int(i) for i in index),
        keras=float(a[index]),
        torch=float(b[index]),
        # An infinite scale would let anything pass.
        scale=max(1.0, float(np.abs(a[np.isfinite(a)]).max(initial=0.0))),
    )
