"""What the judge itself costs, as the README has it, from a default `bn-compare time --self`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from compare.cost.plan import CostPlan
from compare.cost.records import CostRecords
from compare.errors import InputError
from compare.readme import own_cost_words
from compare.readme.kept import keep
from compare.readme.section import Section, no_figures

NAME = "Cost"

KEPT = "cost.json"
"""The file in `docs` with its records."""


def section(records: CostRecords, above: str) -> Section:
    """The section of the cost.

    Args:
        records: All parts of a default `bn-compare time --self`.
        above: What the first screen says of hardware and versions, which is not said again.

    Raises:
        InputError: Something else was measured, or not all of it.
        RunFolderError: A part lacks a row.
    """
    check_default(records)
    return Section(
        name=NAME,
        source=records.path,
        block=own_cost_words.block(records, above),
        figures=no_figures,
        keep=partial(_keep, records),
    )


def check_default(records: CostRecords) -> None:
    """Raise unless all parts were measured as they are by default, however often.

    Raises:
        InputError: The plan differs from the default one, or was not carried out.
    """
    plan = CostPlan()
    # More repetitions make the same figures narrower.
    received = replace(records.plan, repetitions=plan.repetitions).to_dict()
    changed = [name for name, value in plan.to_dict().items() if received[name] != value]
    if changed:
        raise InputError(
            f"{records.path}: expected all parts at their defaults, received other "
            f"{', '.join(changed)}: pass a folder of `bn-compare time --self` without options."
        )
    names = tuple(part.name for part in records.parts)
    if not records.complete or names != plan.parts:
        raise InputError(
            f"{records.path}: expected all of {', '.join(plan.parts)}, finished, received "
            f"{', '.join(names) or 'none'}{'' if records.complete else ', interrupted'}: "
            "run `bn-compare time --self` again."
        )


def _keep(records: CostRecords, docs: Path) -> None:
    keep(records.content, docs / KEPT)
