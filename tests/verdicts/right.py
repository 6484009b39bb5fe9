"""Right ports."""

from __future__ import annotations

from collections.abc import Iterator

import pairs

from verdicts.port import Port
from verdicts.wrong import original


def right_ports() -> Iterator[Port]:
    """Every right port."""
    for name, pair in pairs.discover().items():
        for dtype in ("float64", "float32"):
            yield Port(
                "as it is",
                original(name),
                pair.build_torch,
                objective=getattr(pair, "OBJECTIVE", {}),
                dtype=dtype,
            )
