"""Least squares, for reading settings off what they did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def share(of: Array, what: Array) -> float:
    """How much of one vector there is in another.

    Args:
        of: (n,).
        what: (n,), not zero.
    """
    return float(of @ what / (what @ what))


def solved(columns: Sequence[Array], target: Array) -> list[float]:
    """What columns must be multiplied by to add up to a target, in the sense of least squares.

    Args:
        columns: Each (n,); they may differ by many orders of magnitude.
        target: (n,).
    """
    scales = [float(np.abs(column).max()) or 1.0 for column in columns]
    matrix = np.stack([c / s for c, s in zip(columns, scales, strict=True)], axis=1)
    found = np.linalg.lstsq(matrix, target, rcond=None)[0]
    return [float(x / s) for x, s in zip(found, scales, strict=True)]
