"""Float32 inside float64: what Keras and TensorFlow round to float32 whatever the dtype.

Constants of layers, losses and schedules, and a few operations, such as a bilinear resize, are. A
difference of that size where no setting differs is accepted, and what follows is compared to what
rounding to float32 does in this network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.parity.findings import Finding
from compare.parity.ladder import Check, Ladder
from compare.parity.stretches import behind_the_last, between
from compare.trace import Operation, Trace

NAME = "float32-inside"

UNITS = 8
"""Units in the last place of float32, of the largest value, that one rounded operation may cost: a
resize adds up four rounded products, a loss of a sequence a few more. A resize also
computes in float32 where pixels lie: the last of n is off by n units of the step between two."""

_UNIT = float(np.finfo(np.float32).eps)

_COMPUTED = re.compile(
    r"(training|evaluation)/|step/\d+/(loss|prediction)|gradient/|backward/|pred"
)
"""Where a number that Keras rounds can show first. Steps have formulas of their own."""


def float32_inside(
    ladder: Ladder,
    findings: Collection[Finding],
    keras: Trace,
    operations: Sequence[Operation],
    *,
    single: bool,
) -> Check | None:
    """The first check that failed, if that may be because Keras rounded to float32; else None.

    Args:
        ladder: The ladder, climbed.
        findings: Settings in which the two sides differ: they are a nearer cause.
        keras: Keras' trace.
        operations: All that runs in Keras.
        single: Whether everything is in float32: then all of it is rounded.
    """
    check = ladder.first_failure()
    if single or check is None or not _COMPUTED.match(check.path):
        return None
    # One side alone has it, or other shapes, or no number.
    if not math.isfinite(check.gap.max_abs):
        return None
    if any(finding.is_of(check.layer) for finding in findings):
        return None
    gap = check.gap
    largest = gap.scale if gap.scale > 1.0 else max(abs(gap.keras), abs(gap.torch))
    misplaced = misplacing(operations, check.layer, keras[check.path])
    return check if gap.max_abs <= UNITS * _UNIT * largest + misplaced else None


def misplacing(operations: Sequence[Operation], place: str, images: NDArray[Any]) -> float:
    """How far off a resize may be that computes places in float32; 0 where none is.

    Args:
        operations: All that runs in Keras.
        place: Where the images are, as the ladder blames it.
        images: (n, …, channels).
    """
    ran = behind_the_last(operations) if place == "output" else between(operations, place)
    resizes = (operation["settings"] for operation in ran if operation["kind"] == "upsample")
    # The nearest pixel is taken as it is.
    if all(settings.get("interpolation") == "nearest" for settings in resizes):
        return 0.0
    step = 2.0 * float(np.abs(images).max(initial=0.0))
    return step * max(images.shape[1:-1], default=0) * _UNIT


def failing_alone(ladder: Ladder, wider: Mapping[str, float]) -> dict[str, float]:
    """The wider tolerances of the checks that failed: what agreed is not compared any laxer."""
    failed = {check.path for check in ladder.checks if not check.passed}
    return {path: wide for path, wide in wider.items() if path in failed}
