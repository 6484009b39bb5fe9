"""What the README says of `model.fit` and `Trainer.fit` under a clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compare.readme import markdown
from compare.readme.conditions import elsewhere, machine
from compare.readme.numbers import percent, two_digits
from compare.timing.records import TimingRecords
from compare.timing.summary import CONFIDENCE, Figure, Ratio, figures, ratios
from compare.usage import QUIET
from compare.wording import MISSING

_HEADS = (
    *("network", "s/epoch Keras", "s/epoch Lightning"),
    f"Keras / Lightning [{100 * CONFIDENCE:g} % interval]",
    *("floor Keras", "floor Torch", "overhead Keras", "overhead Lightning"),
    *("first step Keras, cold", "first step Lightning, cold"),
)
_MADE = (
    "Made by `bn-compare time` from [these records](docs/timing.json), and held against them by a "
    "test."
)


def block(records: TimingRecords, above: str) -> str:
    """The table, and where it was measured where that is not said above.

    Args:
        records: A complete timing.
        above: What the first screen says of hardware, threads and versions.
    """
    plan, found = records.plan, records.measurements
    marks = ("---", *["---:"] * (len(_HEADS) - 1))
    table = markdown.table(_HEADS, marks, _lines(figures(plan, found), ratios(found)))
    devices = [report["accelerator"] for report in found.reports.values()]
    here = machine(records.content, devices=devices, threads=plan.settings.threads)
    text = " ".join([_MADE, *elsewhere(here, above)])
    return f"{table}\n\n{markdown.paragraph(text)}"


def _lines(found: Sequence[Figure], pairs: Sequence[Ratio]) -> list[list[str]]:
    fits = {(f.variant, f.framework): f for f in found if f.kind == "idiomatic"}
    by_variant = {pair.variant: pair for pair in pairs if pair.configuration == "idiomatic"}
    return [
        _line([fits[variant, name] for name in ("keras", "torch")], _floors(found, variant), pair)
        for variant, pair in by_variant.items()
    ]


def _floors(found: Sequence[Figure], variant: str) -> Mapping[str, float]:
    """Framework → seconds per epoch of its faster floor."""
    floors: dict[str, float] = {}
    for figure in found:
        seconds = figure.epoch_seconds
        if (figure.variant, figure.kind) == (variant, "floor") and seconds is not None:
            floors[figure.framework] = min(seconds, floors.get(figure.framework, seconds))
    return floors


def _line(fits: Sequence[Figure], floors: Mapping[str, float], pair: Ratio) -> list[str]:
    return [
        f"`{pair.variant}`",
        *(_told(fit.epoch_seconds) for fit in fits),
        _ratio(pair),
        *(_told(floors.get(fit.framework)) for fit in fits),
        *(MISSING if fit.overhead is None else percent(fit.overhead) for fit in fits),
        *(MISSING if (s := fit.first_step_cold) is None else f"{s:.2f} s" for fit in fits),
    ]


def _told(seconds: float | None) -> str:
    return MISSING if seconds is None else two_digits(seconds)


def _ratio(pair: Ratio) -> str:
    told = f"{pair.estimate:.2f} [{pair.low:.2f}, {pair.high:.2f}]"
    # Who reads the ratio shall see in the same place that it is in doubt.
    busy = f", while others kept {pair.other_cores:.1f} cores busy"
    return told + busy if pair.other_cores >= QUIET else told
