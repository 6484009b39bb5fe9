"""What the README says of the judge's own cost: its words are here, its numbers from records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compare.cost.plan import ONE_VARIANT
from compare.cost.records import CostRecords
from compare.readme import markdown
from compare.readme.conditions import elsewhere, machine
from compare.readme.numbers import percent, span, two_digits
from compare.spec import VARIANTS
from compare.usage import QUIET
from compare.wording import LABELS, MISSING

Row = Mapping[str, Any]

(NETWORK,) = ONE_VARIANT
SEEDS = (100, 1000)
"""Those of `NETWORK` that are named."""

_LEAD = "What this tool itself costs, at its [two paces](#two-paces):"
_MADE = (
    "Made by `bn-compare time --self` from [these records](docs/cost.json), both frameworks at the "
    "same time: the study with imports and records written, without its timing pass and report, "
    "the others from the start of the job. A study at the idiomatic pace takes longer than that: "
    "there, frameworks take turns."
)


def block(records: CostRecords, above: str) -> str:
    """A table of the paces, and what else the judge costs.

    Args:
        records: All parts.
        above: What the first screen says of hardware, threads and versions.

    Raises:
        RunFolderError: A part lacks a row.
    """
    here = machine(records.content, devices=(), threads=records.content["settings"]["threads"])
    told = (_on_the_clock(records), _many_seeds(records), _deep(records), *_busy(records))
    text = " ".join([_MADE, *told, *elsewhere(here, above)])
    return "\n\n".join([_LEAD, _table(records), markdown.paragraph(text)])


def _table(records: CostRecords) -> str:
    study = records.row("study")
    heads = (
        f"{study['epochs']} epochs",
        *("fast pace", "idiomatic pace, extrapolated", "from", "times as fast"),
    )
    marks = ("---", "---:", "---:", "---", "---:")
    name = f"default study: {len(study['variants'])} networks, {study['seeds']} seeds"
    lines = [_line(name, [study], f"1 seed, {study['sampled_epochs']} epochs")]
    lines += [_line(*group) for group in _groups(records)]
    return markdown.table(heads, marks, lines)


def _groups(records: CostRecords) -> Iterator[tuple[str, list[Row], str]]:
    """Networks of a family that are measured alike: their name, their rows, and from how much."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for name, variant in VARIANTS.items():
        row = records.row("variants", variant=name)
        few = f"{row['few_seeds']} seeds, {row['few_epochs']} epochs"
        groups.setdefault((variant.family, row["seeds"], few), []).append(row)
    for (family, seeds, few), rows in groups.items():
        yield f"each of {len(rows)} {family.upper()}s, {seeds:,} seeds", rows, few


def _line(title: str, rows: Sequence[Row], few: str) -> list[str]:
    fast, idiomatic, ratio = (
        span(row[name] for row in rows) for name in ("fast_seconds", "idiomatic_seconds", "ratio")
    )
    return [title, f"{fast} s", f"~{idiomatic} s", few, ratio]


def _on_the_clock(records: CostRecords) -> str:
    shares, ratios = [], []
    by_hand = records.plan.of("bare")
    for framework, label in LABELS.items():
        row = records.row("overhead", variant=NETWORK, framework=framework)
        shares.append(f"{percent(row['own_share'], digits=2)} ({label})")
        loops = [records.row("bare", variant=name, framework=framework) for name in by_hand]
        ratios.append(f"{_listed([format(loop['ratio'], '.2f') for loop in loops])} ({label})")
    seeded = [f"`{name}` ({records.row('bare', variant=name)['seeds']} seeds)" for name in by_hand]
    return (
        f"The judge leaves {_listed(shares)} of an epoch of `{NETWORK}` on the clock, and the fast "
        f"pace takes {', '.join(ratios)} times as long as loops written by hand for "
        f"{_listed(seeded)}."
    )


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _many_seeds(records: CostRecords) -> str:
    study = records.row("study")
    many = [
        f"{two_digits(row['seconds'])} s with {seeds:,} seeds"
        for seeds in SEEDS
        for row in [records.row("scaling", variant=NETWORK, seeds=seeds, epochs=study["epochs"])]
    ]
    peaks = [
        f"{_mebibytes(study['peak_bytes'].get(name))} ({label})"
        for name, label in {**LABELS, "parent": "the parent"}.items()
    ]
    return (
        f"At the fast pace, {study['epochs']} epochs of `{NETWORK}` take {_listed(many)}; the "
        f"processes of the default study hold at most {_listed(peaks)}."
    )


def _deep(records: CostRecords) -> str:
    row = records.row("parity")
    seconds, peaks = sum(row["seconds"].values()), row["peak_bytes"].values()
    most = max((peak for peak in peaks if peak is not None), default=None)
    return (
        f"A residual network of {row['layers']} layers ({row['parameters'] / 1e6:.1f} million "
        f"parameters, {row['samples']} images of {row['pixels']}×{row['pixels']}, {row['dtype']}) "
        f"is carried over and checked in {two_digits(seconds)} s and {_mebibytes(most)}, imports "
        f"included, with {row['threads']} threads."
    )


def _mebibytes(value: int | None) -> str:
    return MISSING if value is None else f"{value / 2**20:,.0f} MiB"


def _busy(records: CostRecords) -> Iterator[str]:
    cores = {part.name: part.other_cores or 0.0 for part in records.parts}
    busy = [name for name, found in cores.items() if found >= QUIET]
    if busy:
        most = max(cores.values())
        names = ", ".join(busy)
        yield f"Meanwhile other programs kept up to {most:.1f} cores busy ({names})."
