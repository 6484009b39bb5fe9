"""The product's own cost as text: a table per part, and what its figures are."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from compare.cost.plan import PARTS, Part
from compare.timing.summary import CONFIDENCE
from compare.usage import QUIET
from compare.wording import LABELS, MISSING

Row = Mapping[str, Any]
_WIDTH = 100

ABOUT: Mapping[str, str] = MappingProxyType(
    {
        "overhead": """\
Bare: `model.fit` or `Trainer.fit` over the same batches in the same order, with nobody watching.
Ours on the clock: what runs between the framework's last step and the moment the judge stops its
clock, and from its restart to the framework's next, less what stamps around nothing cost; with
Lightning also the hooks it calls on every callback at every step. Share: of a bare epoch; target
≤ {overhead_target:g} %. Ratio: s/epoch as `bn-compare run` reports it by a bare epoch, median over
repetitions, with its {level:g} % interval.""",
        "study": """\
Both frameworks in processes side by side, imports included. Fast: measured whole, records written.
Idiomatic: {extrapolated}; a study at that pace takes longer still, since its frameworks take turns
so that nothing else computes under the clock.""",
        "scaling": """\
The fast pace, both frameworks at the same time. Seconds: from the start of the job, compiling
included, to the slower one's end; with imports: from the start of the processes. Peak memory: of
each process, new for every line.""",
        "bare": """\
Seconds per epoch of all seeds, from the second on, evaluation included. Bare: the same training
written by hand for this network, without this package (Keras: one compiled function per epoch;
Torch: a traced vmap of a grad, and foreach updates). Ratio: fast / bare, median over repetitions,
with its {level:g} % interval; target ≤ {bare_target:g}.""",
        "variants": """\
Both frameworks at the same time at either pace, from the start of the job. Fast: measured.
Idiomatic: extrapolated from {few}.""",
        "parity": """\
A bottleneck residual network written for both frameworks, in one process of its own, with as many
threads as there are cores: both imported and built, the weights carried over from Keras, and the
ladder climbed: forward, loss, gradients, one step of SGD, moving statistics and evaluation, in
{dtype}. Target ≤ {seconds:.0f} s and {gibibytes:.0f} GiB. Largest differences, and
how much of what rounding may do that is: {differences}.""",
    }
)


def about(part: Part) -> str:
    """What the figures of a part are, and which of them are extrapolated."""
    row = part.rows[0] if part.rows else {}
    words: dict[str, Any] = {
        "level": 100 * CONFIDENCE,
        "bare_target": row.get("target"),
    }
    if part.name == "overhead" and row:
        words["overhead_target"] = 100 * row["target"]
    if part.name == "study" and row:
        words["extrapolated"] = (
            f"extrapolated from one seed of every variant and {row['sampled_epochs']} of "
            f"{row['epochs']} epochs"
        )
    if part.name == "parity" and row:
        words |= _ladder(row)
    if part.name == "variants":
        words["few"] = "; ".join(_few(part.rows))
    return textwrap.fill(ABOUT[part.name].format(**words), _WIDTH)


def _few(rows: Sequence[Row]) -> list[str]:
    """How much of the idiomatic pace was measured, and for which variants."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        how = f"{row['few_seeds']} seeds and {row['few_epochs']} of {row['epochs']} epochs"
        groups.setdefault(how, []).append(row["variant"])
    return [f"{how} ({', '.join(names)})" for how, names in groups.items()]


def _ladder(row: Row) -> dict[str, Any]:
    # An absolute difference of logits says little: they are as large as the network makes them.
    told = (
        f"{rung} {_digits(apart, '.1e')} ({_digits(row['of_tolerance'].get(rung), '.0%')})"
        for rung, apart in row["differences"].items()
    )
    return {
        "dtype": row["dtype"],
        "seconds": row["target"]["seconds"],
        "gibibytes": row["target"]["bytes"] / 2**30,
        "differences": ", ".join(told),
    }


def table(part: Part) -> list[list[str]]:
    """Headings, then a line per row."""
    return _TABLES[part.name](part.rows)


def _overhead(rows: Sequence[Row]) -> list[list[str]]:
    head = ["variant", "framework", "bare s/epoch", "ours on the clock, s", "share", "ratio"]
    lines = [
        [
            row["variant"],
            LABELS[row["framework"]],
            _digits(row["bare_seconds"]),
            _digits(row["own_seconds"], ".2g"),
            f"{100 * row['own_share']:.2f} %",
            _interval(row),
        ]
        for row in rows
    ]
    return [head, *lines]


def _study(rows: Sequence[Row]) -> list[list[str]]:
    head = ["study", "fast, s", "idiomatic, s", "ratio", "imports, s", "peak MiB: parent"]
    head += [f"{LABELS[name]}" for name in LABELS]
    lines = []
    for row in rows:
        peaks = row["peak_bytes"]
        lines.append(
            [
                f"{len(row['variants'])} variants, {row['seeds']} seeds, {row['epochs']} epochs",
                _digits(row["fast_seconds"], ".1f"),
                f"~{row['idiomatic_seconds']:.0f}",
                _digits(row["ratio"], ".1f"),
                _digits(row["start_seconds"], ".1f"),
                *(_mebibytes(peaks.get(name)) for name in ("parent", *LABELS)),
            ]
        )
    return [head, *lines]


def _scaling(rows: Sequence[Row]) -> list[list[str]]:
    head = ["variant", "seeds", "epochs", "seconds", *(f"{n} s" for n in LABELS.values())]
    head += ["with imports", *(f"{name} MiB" for name in LABELS.values())]
    lines = [
        [
            row["variant"],
            f"{row['seeds']:,}",
            f"{row['epochs']:,}",
            _digits(row["seconds"]),
            *(_digits(row["by_framework"].get(name)) for name in LABELS),
            _digits(row["seconds"] + row["start_seconds"]),
            *(_mebibytes(row["peak_bytes"].get(name)) for name in LABELS),
        ]
        for row in rows
    ]
    return [head, *lines]


def _bare(rows: Sequence[Row]) -> list[list[str]]:
    head = ["variant", "framework", "seeds", "fast s/epoch", "bare s/epoch", "ratio"]
    lines = [
        [
            row["variant"],
            LABELS[row["framework"]],
            str(row["seeds"]),
            _digits(row["fast_seconds"]),
            _digits(row["bare_seconds"]),
            _interval(row),
        ]
        for row in rows
    ]
    return [head, *lines]


def _variants(rows: Sequence[Row]) -> list[list[str]]:
    head = ["variant", "seeds", "epochs", "fast, s", "idiomatic, s", "ratio"]
    lines = [
        [
            row["variant"],
            str(row["seeds"]),
            str(row["epochs"]),
            _digits(row["fast_seconds"]),
            f"~{row['idiomatic_seconds']:.0f}",
            _digits(row["ratio"], ".1f"),
        ]
        for row in rows
    ]
    return [head, *lines]


def _parity(rows: Sequence[Row]) -> list[list[str]]:
    stages = ("import", "build", "port", "check")
    head = ["network", "images", *(f"{stage}, s" for stage in stages), "all, s", "peak MiB"]
    head += ["verdict"]
    lines = [
        [
            f"{row['layers']} layers, {row['parameters'] / 1e6:.1f} M parameters",
            f"{row['samples']} × {row['pixels']} × {row['pixels']} × 3",
            *(_digits(row["seconds"][stage], ".1f") for stage in stages),
            _digits(sum(row["seconds"].values()), ".1f"),
            _mebibytes(row["peak_bytes"]["check"]),
            "passed" if row["passed"] else "differs",
        ]
        for row in rows
    ]
    return [head, *lines]


_TABLES: Mapping[str, Callable[[Sequence[Row]], list[list[str]]]] = {
    "overhead": _overhead,
    "study": _study,
    "scaling": _scaling,
    "bare": _bare,
    "variants": _variants,
    "parity": _parity,
}


def _digits(value: float | None, form: str = ".3g") -> str:
    return MISSING if value is None else format(value, form)


def _mebibytes(value: int | None) -> str:
    return MISSING if value is None else f"{value / 2**20:,.0f}"


def _interval(row: Row) -> str:
    return f"{row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def load(part: Part) -> str:
    """How long a part took, and how busy other programs kept the machine."""
    if part.other_cores is None:
        return f"Interrupted after {part.seconds:.0f} s."
    if part.other_cores < QUIET:
        busy = f"other programs used less than {QUIET:g} cores"
    else:
        busy = (
            f"other programs kept {part.other_cores:.1f} cores busy: measure again when it is idle"
        )
    return f"Took {part.seconds:.0f} s; {busy}."


def markdown(parts: Sequence[Part]) -> str:
    """The page `self.md`."""
    text = ["# What the judge itself costs", ""]
    text += ["float32, one thread per framework where nothing else is said.", ""]
    for part in parts:
        head, *lines = table(part)
        rule = ["---"] + ["---:"] * (len(head) - 1)
        rows = [f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)]
        title = PARTS[part.name]
        text += [f"## {title[0].upper()}{title[1:]}", "", *rows, ""]
        text += [*about(part).splitlines(), "", load(part), ""]
    return "\n".join(text).rstrip("\n") + "\n"
