"""The README's clocks, from the records of a default timing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from compare.errors import InputError
from compare.readme import clocks_words
from compare.readme.kept import keep
from compare.readme.section import Section
from compare.timing.plots import scaling
from compare.timing.records import AXES, TimingRecords
from compare.timing.samples import DEFAULT, Measurements, Plan

NAME = "Clocks"

KEPT = "timing.json"
"""The file in `docs` with its records."""

FIGURE = "time-per-step"
"""The figure's name, without ending."""


def section(records: TimingRecords, above: str) -> Section:
    """The section of a timing.

    Args:
        records: A whole timing at the defaults of `bn-compare time`.
        above: What the first screen says of hardware and versions, which is not said again.

    Raises:
        InputError: It is no such timing.
    """
    check_default(records)
    return Section(
        name=NAME,
        source=records.path,
        block=clocks_words.block(records, above),
        figures=partial(_figures, records.measurements),
        keep=partial(_keep, records),
    )


def check_default(records: TimingRecords) -> None:
    """Raise unless everything is there that `bn-compare time` measures without options.

    Raises:
        InputError: The plan differs from the default one, or something was not measured.
    """
    plan, found = records.plan.to_dict(), records.measurements
    changed = [name for name, value in DEFAULT.to_dict().items() if plan[name] != value]
    if changed:
        raise InputError(
            f"{records.path}: expected a timing at the defaults, received other "
            f"{', '.join(changed)}: pass a folder of `bn-compare time` without options."
        )
    lacking = [*found.left_out, *_lacking(records.plan, found)]
    if not found.complete or lacking:
        raise InputError(
            f"{records.path}: expected a timing that has ended, and all of it, received one "
            f"{f'without {lacking[0]}' if lacking else 'that was interrupted'}: "
            "run `bn-compare time` again."
        )


def _lacking(plan: Plan, found: Measurements) -> Iterator[str]:
    """What a whole timing has and this one does not, in words."""
    timed = {
        (s.variant, s.framework, s.kind, s.repetition) for s in found.samples if s.error is None
    }
    drawn = {(point.axis, point.framework, point.kind) for point in found.points}
    for framework in plan.settings.frameworks:
        for kind in ("idiomatic", "floor"):
            for variant in plan.settings.variants:
                for repetition in range(plan.repetitions + 1):
                    if (variant, framework, kind, repetition) not in timed:
                        yield f"{variant}, {framework}, {kind}, repetition {repetition}"
            for axis in AXES:
                if (axis, framework, kind) not in drawn:
                    yield f"scaling over {axis}, {framework}, {kind}"


def _figures(measurements: Measurements) -> Iterator[tuple[str, Figure]]:
    yield FIGURE, scaling(measurements)


def _keep(records: TimingRecords, docs: Path) -> None:
    keep(records.content, docs / KEPT)
