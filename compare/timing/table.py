"""The figures of `bn-compare time` as text: tables for the terminal, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from itertools import chain

from compare.timing.samples import Measurements, Plan
from compare.timing.summary import CONFIDENCE, Figure, Ratio, crossing, envelope, other_cores
from compare.usage import QUIET
from compare.wording import LABELS, MISSING

WORDING = """\
These are times of small steps on {device}, {threads} thread(s) per framework: they measure the
overhead of `model.fit` and `Trainer.fit`, not throughput on large networks.
s/epoch: median over fits of the median epoch from the second on; nothing is evaluated meanwhile.
First step: from the call of fit to the end of the first step, tracing and compiling included, in a
process that has fitted before; cold: in one that has not. Lightning's Trainer is made before.
Overhead: 1 − floor / fit, where the floor is the same epoch in a bare loop (Keras: one compiled
function, with XLA or without, the faster one counting; Torch: forward, backward, SGD).
Import: of the framework alone, NumPy and SciPy being there. Peak memory: of the process after its
first idiomatic fit, import included. Seconds to the target: first step + epochs to it (the median
of ten seeds) × s/epoch.
Ratio: Keras / Lightning of s/epoch, the median over repetitions of the ratio within one; its
{level} % interval resamples repetitions. It covers noise within this call, on this machine in this
state, not other machines, versions or sizes."""

HEADINGS = (
    *("variant", "framework", "configuration", "s/epoch", "steps/s", "first step", "cold"),
    *("overhead", "import s", "peak MiB", "epochs to {target}", "s to {target}"),
)
AXES = {"batch_size": "batch size", "units": "width"}


def headings(plan: Plan) -> list[str]:
    """Headings of the columns of `cells`."""
    target = f"{100 * plan.settings.target:g} %"
    return [heading.format(target=target) for heading in HEADINGS]


def cells(figures: Sequence[Figure]) -> list[list[str]]:
    """One line per figure, in the order of `headings`; `failures` says why one could not run."""
    return [_line(figure) for figure in figures]


def _line(figure: Figure) -> list[str]:
    names = [figure.variant, LABELS[figure.framework], figure.configuration]
    if figure.error is not None and figure.epoch_seconds is None:
        return [*names, "cannot run", *[""] * (len(HEADINGS) - 4)]
    never = figure.kind == "idiomatic" and figure.import_seconds is not None
    epochs = figure.epochs_to_target
    mebibytes = None if figure.peak_rss_bytes is None else figure.peak_rss_bytes / 2**20
    return [
        *names,
        _digits(figure.epoch_seconds),
        _digits(figure.steps_per_second, ",.0f"),
        _digits(figure.first_step),
        _digits(figure.first_step_cold),
        _digits(figure.overhead, ".0%"),
        _digits(figure.import_seconds, ".1f"),
        _digits(mebibytes, ",.0f"),
        "never" if never and epochs is None else _digits(epochs, "g"),
        _digits(figure.seconds_to_target),
    ]


def _digits(value: float | None, form: str = ".3g") -> str:
    return MISSING if value is None else format(value, form)


def failures(figures: Sequence[Figure]) -> list[str]:
    """What could not run, and why, one line each."""
    return [
        f"{f.variant}, {LABELS[f.framework]}, {f.configuration} cannot run: {f.error}"
        for f in figures
        if f.error is not None
    ]


def notes(figures: Sequence[Figure]) -> list[str]:
    """What the frameworks decided by themselves in the fit as a user writes it, one line each."""
    found = [
        f"{LABELS[f.framework]}, idiomatic: {f.note}"
        for f in figures
        if f.kind == "idiomatic" and f.note
    ]
    return list(dict.fromkeys(found))


def ratio_lines(ratios: Sequence[Ratio]) -> list[str]:
    """Every ratio with its interval, one line each."""
    width = max((len(f"{r.variant}, {r.configuration}") for r in ratios), default=0)
    return [
        f"{f'{r.variant}, {r.configuration}':<{width}}  {r.estimate:.2f}  "
        f"[{r.low:.2f}, {r.high:.2f}]{_busy(r)}"
        for r in ratios
    ]


def _busy(ratio: Ratio) -> str:
    busy = ratio.other_cores >= QUIET
    return f"  others kept {ratio.other_cores:.1f} cores busy" if busy else ""


def scaling_lines(measurements: Measurements) -> list[str]:
    """Where overhead ends and arithmetic begins, one line per framework and axis."""
    lines = []
    for (axis, framework, kind), curve in envelope(measurements.points).items():
        size = crossing(curve)
        where = f"beyond {max(curve)}" if size is None else f"at {size:.0f}"
        name = "fit" if kind == "idiomatic" else "floor"
        lines.append(
            f"{LABELS[framework]} {name}: a step takes twice its shortest time "
            f"{where} ({AXES[axis]})"
        )
    return lines


def load_line(measurements: Measurements) -> str:
    """How busy other programs kept the machine; whoever compares figures should know."""
    cores = other_cores(measurements.samples)
    if cores is None or cores < QUIET:
        return f"While fits ran, other programs used less than {QUIET:g} cores."
    return (
        f"While fits ran, other programs kept {cores:.2g} cores busy: measure again on a quiet "
        "machine before you publish. Keras' fit hands work between threads, and misses a free core "
        "more than Lightning's does."
    )


def wording(plan: Plan) -> str:
    """What the figures are, and what they are not."""
    device = "the CPU" if plan.accelerator == "cpu" else "a GPU"
    return WORDING.format(
        device=device, threads=plan.settings.threads, level=f"{100 * CONFIDENCE:g}"
    )


def csv_text(figures: Sequence[Figure]) -> str:
    """All figures, a column per field, empty where there is none."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Figure)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(figure) for figure in figures)
    return out.getvalue()


def markdown(
    plan: Plan, measurements: Measurements, figures: Sequence[Figure], ratios: Sequence[Ratio]
) -> str:
    """The page `timing.md`."""
    rule = ["---"] * 3 + ["---:"] * (len(HEADINGS) - 3)
    table = [f"| {' | '.join(row)} |" for row in (headings(plan), rule, *cells(figures))]
    pairs = [
        "| variant | configuration | Keras / Lightning | interval |",
        "| --- | --- | ---: | --- |",
    ]
    pairs += [
        f"| {r.variant} | {r.configuration} | {r.estimate:.3f} "
        f"| {r.low:.3f} to {r.high:.3f}{_busy(r)} |"
        for r in ratios
    ]
    figure_lines = []
    if any(figure.epoch_seconds is not None for figure in figures):
        figure_lines += ["![Seconds per epoch, and the floor below](figures/epoch-seconds.png)", ""]
    scaling = [f"- {line}" for line in scaling_lines(measurements)]
    if scaling:
        figure_lines += ["![Time per step by batch size and width](figures/scaling.png)", ""]
    parts = (
        ["# Seconds per epoch, Keras and Lightning", ""],
        [*wording(plan).splitlines(), load_line(measurements), ""],
        [
            *table,
            "",
            *(f"- {line}" for line in (*notes(figures), *failures(figures))),
            "",
            *pairs,
            "",
        ],
        figure_lines,
        [*scaling, ""] if scaling else [],
        [f"- left out: {line}" for line in measurements.left_out],
    )
    return "\n".join(chain.from_iterable(parts)).rstrip("\n") + "\n"
