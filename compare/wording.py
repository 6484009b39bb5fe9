"""What tables and figures alike call the frameworks, and how they write a small number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

LABELS: Mapping[str, str] = MappingProxyType({"keras": "Keras", "torch": "Lightning"})
"""Framework in records → what a reader calls it."""

MISSING = "–"


def magnitude(value: float | None) -> str:
    """A difference to two digits, such as `3.1e-07`; an en dash where there is none."""
    if value is None:
        return MISSING
    if math.isnan(value):
        return "NaN"
    return "0" if value == 0 else f"{value:.1e}"
