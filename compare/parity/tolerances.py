"""The one table of tolerances of the ladder, each with its reason.

A tolerance is multiplied by the scale of what is compared: the largest absolute value, at least 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources

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
    the ten variants (`floors.json`, made by `bn-compare floors`). Rungs 10 and 11
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
