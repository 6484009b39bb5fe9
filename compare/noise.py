"""How far rounding alone moves a pair: a floor measured on the very networks that are compared.

Torch is traced once more with every weight and every sample one unit in the last place off. Each
operation's rounding does about as much, and what the network makes of it, through depth and through
kinks, is what it makes of rounding.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from compare.gaps import gap
from compare.sides import Batches, TorchSide, jogged
from compare.traces import Trace

MARGIN = 8.0
"""How far above what was measured Keras and Torch may be apart: they add up in another order, at
every operation, where the measurement disturbs each weight once."""

DRAWS = 2
"""A single disturbance may cancel by chance in what is one number, such as the loss."""

CEILING: Mapping[str, float] = {
    # A learning rate or a momentum that was rounded to float32 costs some 1e-8.
    "float64": 1e-10,
    # An epsilon of 1e-5 instead of 1e-3 costs some 5e-4 of a normalized value.
    "float32": 1e-2,
}
"""The largest tolerance that rounding may ask for: beyond it a mistake would pass as noise."""

_GIVEN = re.compile(r"initial/|step/\d+/data/|error$")
"""What is given, not computed: equal or not."""


def measure(side: TorchSide, batches: Batches, found: Trace, dtype: str) -> dict[str, float]:
    """Name of an array → the tolerance that rounding in this network asks for.

    Args:
        side: Torch's side; a copy of it is disturbed.
        batches: Those that were traced.
        found: Their trace.
        dtype: `"float32"` or `"float64"`.
    """
    rng = np.random.default_rng(0)
    worst: dict[str, float] = {}
    for _ in range(DRAWS):
        with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
            moved = side.perturbed(rng).trace(jogged(batches, rng), Path(scratch))
            for path in moved:
                if path in found and not _GIVEN.match(path):
                    floor = gap(found[path], moved[path]).required
                    worst[path] = max(worst.get(path, 0.0), floor)
    ceiling = CEILING[dtype]
    return {path: min(MARGIN * floor, ceiling) for path, floor in worst.items()}
