"""The one table of tolerances of the ladder, each with its reason.

A tolerance is multiplied by the scale of what is compared: the largest absolute value, at least 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT64: Mapping[int, float] = {
    # Not arithmetic: names, indices and copies are equal or they are not.
    1: 0.0,
    2: 0.0,
    3: 0.0,
    # The same sums in another order, a few units in the last place (2.2e-16) each. Measured over
    # ten variants and 20 seeds: 2.7e-15, 4.4e-16, 3.1e-15, 1.1e-16, 3.3e-16 and 1.1e-15. The CNN
    # with batch normalization, which adds up 288 products per value, sets most of them.
    4: 2.5e-14,
    5: 4e-15,
    6: 3e-14,
    7: 1e-15,
    8: 3e-15,
    9: 1e-14,
    # 1,600 steps of SGD on top. Measured over five seeds: 7.4e-13 on the CNN with batch
    # normalization, 3e-15 on every MLP and LSTM.
    10: 1e-12,
    11: 1e-12,
}

FLOOR_MARGIN = 4.0
"""How far above the measured floor float32 may be. Keras and Torch round otherwise than Keras with
and without XLA: over ten variants and 20 seeds they were up to 2.2 floors apart."""


def for_dtype(dtype: str) -> Mapping[int, float]:
    """Rung → tolerance.

    In float64 a fixed bound. In float32 rungs 1 to 3 are exact as well; rungs 4 to 9 are judged
    against a floor measured on Keras itself, with XLA on against off, the largest of 20 seeds over
    the ten variants (`floors.json`, made by `python tests/float32_floors.py`). Rungs 10 and 11
    are judged in float64 whatever the dtype: float32 trajectories drift apart by rounding alone.

    Args:
        dtype: `"float32"` or `"float64"`.
    """
    if dtype == "float64":
        return FLOAT64
    return {**FLOAT64, **{rung: FLOOR_MARGIN * floor for rung, floor in floors().items()}}


def floors() -> dict[int, float]:
    """Rung → the noise floor that was measured for float32, relative to the scale."""
    text = resources.files("compare.parity").joinpath("floors.json").read_text("utf-8")
    return {int(rung): float(floor) for rung, floor in json.loads(text)["float32"].items()}


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


EQUAL = Gap(0.0, 0.0, (), math.nan, math.nan, 1.0)


def unequal(note: str) -> Gap:
    """The gap between things that differ and are not numbers to be subtracted."""
    return Gap(math.inf, math.inf, (), math.nan, math.nan, 1.0, note)


_BLOCK = 1 << 16
"""Elements that are compared at a time: what lies between stays in the processor's cache."""


def gap(keras: NDArray[Any], torch: NDArray[Any]) -> Gap:
    """Compare two arrays element by element, in float64."""
    if keras.shape != torch.shape:
        return unequal(f"shape {keras.shape} in Keras, {torch.shape} in Torch")
    if keras.size == 0:
        return EQUAL
    a, b = np.asarray(keras).reshape(-1), np.asarray(torch).reshape(-1)
    worst, place, scale, relatives = -1.0, 0, 1.0, []
    for start in range(0, a.size, _BLOCK):
        size = a[start : start + _BLOCK].astype(np.float64)
        apart = b[start : start + _BLOCK].astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            np.abs(np.subtract(size, apart, out=apart), out=apart)
            np.abs(size, out=size)
            # The first NaN where there is one; infinite on both sides is NaN apart.
            at = int(np.argmax(apart))
            if (nonzero := size != 0).any():
                quotients = np.divide(apart, size, out=np.zeros_like(size), where=nonzero)
                relatives.append(float(np.max(quotients)))
        if not (math.isnan(worst) or apart[at] <= worst):
            worst, place = float(apart[at]), start + at
        # An infinite scale would let anything pass.
        scale = max(scale, float(size.max(initial=0.0, where=np.isfinite(size))))
    return Gap(
        max_abs=worst,
        max_rel=float(np.max(relatives)) if relatives else (math.inf if worst else 0.0),
        index=tuple(int(i) for i in np.unravel_index(place, keras.shape)),
        keras=float(a[place]),
        torch=float(b[place]),
        scale=scale,
    )
