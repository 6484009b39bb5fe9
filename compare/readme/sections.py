"""The sections of the README, each from a folder that is named or from what is kept."""

from __future__ import annotations

from pathlib import Path

from compare.cost import records as cost_records
from compare.readme import clocks, own_cost, screen
from compare.readme.section import Section
from compare.readme.words import at
from compare.study.records import RunFolder
from compare.timing import records as timing_records


def sections(
    docs: Path, *, study: Path | None = None, timing: Path | None = None, cost: Path | None = None
) -> list[Section]:
    """All of them: one that changes may change another, since the first names the machine for all.

    Args:
        docs: Where records are kept; they count for what is not named.
        study: A folder of `bn-compare run`.
        timing: A folder of `bn-compare time`.
        cost: A folder of `bn-compare time --self`.

    Raises:
        InputError: Records are not complete, or not made at the defaults.
        RunFolderError: Records cannot be read.
    """
    folder = RunFolder.open(docs / screen.KEPT if study is None else study)
    timed = docs / clocks.KEPT if timing is None else timing / timing_records.FILE
    spent = docs / own_cost.KEPT if cost is None else cost / cost_records.FILE
    above = at(folder.manifest, folder.settings)
    return [
        screen.section(folder),
        clocks.section(timing_records.TimingRecords.open(timed), above),
        own_cost.section(cost_records.CostRecords.open(spent), above),
    ]
