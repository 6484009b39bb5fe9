"""`bn-compare time`: measure, save after every repetition; tables, figures and JSON of a timing."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from compare import environment
from compare.backends.loading import check_installed
from compare.console import LABELS, Table, digits
from compare.errors import RunFolderError
from compare.report.figures import INK, PENS, entry, own_style
from compare.report.figures import save as save_figure
from compare.resources import QUIET
from compare.spec import FRAMEWORKS
from compare.study.records import check_writable, json_number, write_text
from compare.timing.measure import measure_scaling, measure_variant
from compare.timing.records import FILE, FORMAT, Measurements, Plan, Sample, TimingRecords
from compare.timing.summary import (
    CONFIDENCE,
    Figure,
    Ratio,
    crossing,
    envelope,
    figures,
    other_cores,
    ratios,
    steady_seconds,
)

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
_FIT = {"idiomatic": "fit", "floor": "floor"}


def run(plan: Plan, path: Path, *, say: Callable[[str], None]) -> Measurements:
    """Carry out a plan; `timing.json` is rewritten after every repetition.

    Args:
        plan: What to time.
        path: A new or empty folder; made once something was measured.
        say: Called with a line about what is under way.

    Raises:
        InputError: A GPU was asked for, and there is none.
        MissingDependencyError: A framework is not installed.
        RunFolderError: `path` cannot be used.
    """
    check_installed(FRAMEWORKS)
    check_writable(path)
    measurements = Measurements()
    header = _header(plan)

    def save() -> None:
        path.mkdir(parents=True, exist_ok=True)
        content = {**header, **to_json(plan, measurements), "raw": measurements.raw()}
        write_text(path / FILE, json.dumps(content, allow_nan=False, indent=1) + "\n")

    for variant in plan.settings.variants:
        measure_variant(variant, plan, measurements, save=save, say=say)
    if plan.scaling:
        measure_scaling(plan, measurements, save=save, say=say)
    measurements.complete = True
    save()
    _write_pages(plan, measurements, path)
    return measurements


def redo(path: Path, *, as_json: bool) -> None:
    """Write the pages again from `timing.json` alone, also of an interrupted timing, and show them.

    Args:
        path: A folder of `bn-compare time`.
        as_json: Whether to print JSON instead of tables.

    Raises:
        RunFolderError: The records cannot be read, or the folder cannot be written to.
    """
    records = TimingRecords.open(path / FILE)
    try:
        _write_pages(records.plan, records.measurements, path)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot write the pages: {error}") from error
    if as_json:
        # Not made anew: versions are those of the machine that measured.
        content = json.loads((path / FILE).read_text(encoding="utf-8"))
        del content["raw"]
        print(json.dumps({"run_dir": str(path), **content}, allow_nan=False))
        return
    show(records.plan, records.measurements, path, as_json=False)


def show(plan: Plan, measurements: Measurements, path: Path, *, as_json: bool) -> None:
    """Print the tables, or the JSON, on stdout."""
    if as_json:
        content = {"run_dir": str(path), **to_json(plan, measurements)}
        print(json.dumps(content, allow_nan=False))
        return
    rows = figures(plan, measurements)
    table(plan, rows).print()
    scaling = scaling_lines(measurements)
    lines = [
        *notes(rows),
        *failures(rows),
        "",
        "Keras / Lightning, seconds per epoch:",
        *ratio_lines(ratios(measurements)),
        "",
        *scaling,
        *(f"left out: {line}" for line in measurements.left_out),
        *([""] if scaling else []),
        wording(plan),
        load_line(measurements),
        "",
        f"folder: {path}",
    ]
    print("\n".join(lines))


def interrupted(path: Path) -> str:
    """What Ctrl-C left, in one line."""
    file = path / FILE
    if not file.is_file():
        return "interrupted: nothing was measured."
    samples = json.loads(file.read_text(encoding="utf-8"))["raw"]["samples"]
    return (
        f"interrupted: {len(samples)} fits are saved in {file}; "
        f"`bn-compare report {path}` makes tables of them."
    )


def _write_pages(plan: Plan, measurements: Measurements, path: Path) -> None:
    rows, pairs = figures(plan, measurements), ratios(measurements)
    write_text(path / "timing.csv", csv_text(rows))
    write_text(path / "timing.md", markdown(plan, measurements, rows, pairs))
    folder = path / "figures"
    folder.mkdir(exist_ok=True)
    if any(figure.epoch_seconds is not None for figure in rows):
        save_figure(epoch_seconds(rows, measurements.samples), folder, "epoch-seconds")
    if measurements.points:
        save_figure(scaling(measurements), folder, "scaling")


def _header(plan: Plan) -> dict[str, Any]:
    return {
        **FORMAT.header(),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["bn-compare", *sys.argv[1:]],
        "settings": plan.to_dict(),
        "hardware": environment.hardware(),
        "threads": plan.settings.threads,
        "git_commit": environment.git_commit(),
        "about": wording(plan),
    }


def to_json(plan: Plan, measurements: Measurements) -> dict[str, Any]:
    """Figures, ratios and scaling as JSON types; null where there is no number."""
    scaling = [
        {
            "axis": axis,
            "framework": framework,
            "kind": kind,
            "step_seconds": {str(size): json_number(v) for size, v in sorted(curve.items())},
            "arithmetic_from": crossing(curve),
        }
        for (axis, framework, kind), curve in envelope(measurements.points).items()
    ]
    live = {k: v for report in measurements.reports.values() for k, v in report.items()}
    live.pop("accelerator", None)
    return {
        "complete": measurements.complete,
        "versions": {**environment.versions(), **live},
        "accelerator": {name: r["accelerator"] for name, r in measurements.reports.items()},
        "figures": [asdict(figure) for figure in figures(plan, measurements)],
        "ratios": [asdict(ratio) for ratio in ratios(measurements)],
        "scaling": scaling,
        "left_out": measurements.left_out,
        "waited_seconds": measurements.waited,
        "other_cores": other_cores(measurements.samples),
    }


def table(plan: Plan, figures: Sequence[Figure]) -> Table:
    """One row per figure; `failures` says why one could not run."""
    target = f"{100 * plan.settings.target:g} %"
    headings = [heading.format(target=target) for heading in HEADINGS]
    return Table(headings, [_cells(figure) for figure in figures], left=3)


def _cells(figure: Figure) -> list[str]:
    names = [figure.variant, LABELS[figure.framework], figure.configuration]
    if figure.error is not None and figure.epoch_seconds is None:
        return [*names, "cannot run", *[""] * (len(HEADINGS) - 4)]
    never = figure.kind == "idiomatic" and figure.import_seconds is not None
    epochs = figure.epochs_to_target
    mebibytes = None if figure.peak_rss_bytes is None else figure.peak_rss_bytes / 2**20
    return [
        *names,
        digits(figure.epoch_seconds),
        digits(figure.steps_per_second, ",.0f"),
        digits(figure.first_step),
        digits(figure.first_step_cold),
        digits(figure.overhead, ".0%"),
        digits(figure.import_seconds, ".1f"),
        digits(mebibytes, ",.0f"),
        "never" if never and epochs is None else digits(epochs, "g"),
        digits(figure.seconds_to_target),
    ]


def failures(figures: Sequence[Figure]) -> list[str]:
    """What could not run, and why, one line each."""
    return [
        f"{f.variant}, {LABELS[f.framework]}, {f.configuration} cannot run: {f.error}"
        for f in figures
        if f.error is not None
    ]


def notes(figures: Sequence[Figure]) -> list[str]:
    """What the frameworks decided by themselves in the fit as a user writes it, one line each."""
    lines = [
        f"{LABELS[f.framework]}, idiomatic: {f.note}"
        for f in figures
        if f.kind == "idiomatic" and f.note
    ]
    return list(dict.fromkeys(lines))


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
        lines.append(
            f"{LABELS[framework]} {_FIT[kind]}: a step takes twice its shortest time "
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
        "machine before you publish. Keras' fit hands work between threads and suffers more from a "
        "busy core than Lightning's."
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
    pairs = [
        (r.variant, r.configuration, f"{r.estimate:.3f}", f"{r.low:.3f} to {r.high:.3f}{_busy(r)}")
        for r in ratios
    ]
    drawings = []
    if any(figure.epoch_seconds is not None for figure in figures):
        drawings.append("![Seconds per epoch, and the floor below](figures/epoch-seconds.png)")
    if measurements.points:
        drawings.append("![Time per step by batch size and width](figures/scaling.png)")
    blocks = (
        "# Seconds per epoch, Keras and Lightning",
        f"{wording(plan)}\n{load_line(measurements)}",
        table(plan, figures).markdown(),
        _items([*notes(figures), *failures(figures)]),
        Table(("variant", "configuration", "Keras / Lightning", "interval"), pairs, 2).markdown(),
        *drawings,
        _items(scaling_lines(measurements)),
        _items([f"left out: {line}" for line in measurements.left_out]),
    )
    return "\n\n".join(block for block in blocks if block) + "\n"


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


_AXES = {"batch_size": "batch size (width 50)", "units": "width (batches of 32)"}
_LOOKS: dict[str, tuple[Any, str]] = {"idiomatic": ("-", "o"), "floor": ((0, (4, 2)), "s")}
_SHIFT = {"keras": -0.17, "torch": 0.17}


def epoch_seconds(figures: Sequence[Figure], samples: Sequence[Sample]) -> Drawing:
    """Seconds per epoch by variant: the fit filled, its fastest floor hollow, every fit a dot."""
    variants = list(dict.fromkeys(figure.variant for figure in figures))
    with own_style():
        drawing = Drawing(figsize=(7.2, 1.8 + 0.6 * len(variants)), layout="constrained")
        axes = drawing.subplots()
        for row, variant in enumerate(variants):
            for framework, shift in _SHIFT.items():
                side = [f for f in figures if (f.variant, f.framework) == (variant, framework)]
                dots = [
                    steady_seconds(sample)
                    for sample in samples
                    if (sample.variant, sample.framework) == (variant, framework)
                    and sample.kind == "idiomatic"
                    and sample.repetition
                ]
                _row(axes, row + shift, PENS[framework].color, side, dots)
        axes.set_yticks(range(len(variants)), variants)
        axes.set_ylim(len(variants) - 0.5, -0.5)
        axes.set(xscale="log", xlabel="seconds per epoch from the second on (log scale)")
        _plain_numbers(axes.xaxis)
        axes.set_title("model.fit and Trainer.fit, and the floor below each", loc="left")
        legend = [
            *(_dots(LABELS[name], "o", color=pen.color) for name, pen in PENS.items()),
            _dots("floor", "s", markerfacecolor="none"),
            _dots("single fits", ".", markersize=4),
        ]
        drawing.legend(handles=legend, loc="outside lower center", ncols=4)
    return drawing


def _row(
    axes: Axes, height: float, color: str, figures: Sequence[Figure], dots: Sequence[float]
) -> None:
    fits = [f.epoch_seconds for f in figures if f.kind == "idiomatic" and f.epoch_seconds]
    floors = [f.epoch_seconds for f in figures if f.kind == "floor" and f.epoch_seconds]
    if fits and floors:
        axes.plot([min(floors), fits[0]], [height] * 2, color=color, linewidth=2.5, alpha=0.5)
    if floors:
        axes.plot([min(floors)], [height], "s", color=color, markerfacecolor="none")
    for fit in fits:
        axes.plot([fit], [height], "o", color=color, markersize=8)
    axes.plot(dots, [height] * len(dots), ".", color=INK, markersize=2.5)


def scaling(measurements: Measurements) -> Drawing:
    """Milliseconds per step by batch size and by width; a tick where it is twice the smallest."""
    curves = envelope(measurements.points)
    with own_style():
        drawing = Drawing(figsize=(9.4, 4.6), layout="constrained")
        panels = drawing.subplots(1, 2, sharey=True)
        for axes, (axis, label) in zip(panels, _AXES.items(), strict=True):
            for (where, framework, kind), curve in curves.items():
                if where == axis:
                    _curve(axes, PENS[framework].color, kind, curve)
            axes.set(xscale="log", yscale="log", xlabel=label)
            _plain_numbers(axes.xaxis)
        _plain_numbers(panels[0].yaxis)
        panels[0].set(ylabel="milliseconds per step")
        panels[0].set_title("Dense → BN → Dense: overhead, then arithmetic", loc="left")
        legend = [
            entry(f"{LABELS[side]} {_FIT[kind]}", color=pen.color, linewidth=1.5, **_look(kind))
            for side, pen in PENS.items()
            for kind in _LOOKS
        ]
        legend.append(_dots("twice the least", "|", markersize=12))
        drawing.legend(handles=legend, loc="outside lower center", ncols=5)
    return drawing


def _curve(axes: Axes, color: str, kind: str, curve: dict[int, float]) -> None:
    sizes = sorted(curve)
    times = [1e3 * curve[size] for size in sizes]
    axes.plot(sizes, times, color=color, **_look(kind))
    size = crossing(curve)
    if size is not None:
        axes.plot([size], [2 * min(times)], "|", color=INK, markersize=14, markeredgewidth=1.5)


def _look(kind: str) -> dict[str, Any]:
    style, marker = _LOOKS[kind]
    return {"linestyle": style, "marker": marker, "markersize": 4}


def _dots(label: str, marker: str, **look: Any) -> Line2D:
    return entry(label, linestyle="", marker=marker, **look)


def _plain_numbers(axis: Axis) -> None:
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())
