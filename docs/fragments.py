"""The README's numbers, made from the records in this folder; `make readme` puts them in.

Every function returns Markdown. To renew the records:

    bn-compare run                      its manifest, records, timings and weights → docs/study
    bn-compare time                     its timing.json → docs
    bn-compare parity --seeds 1         its parity.json → docs
    bn-compare conventions --measure --json > docs/conventions.json
    python docs/fragments.py            draws the figures
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from compare.parity.ladder import RUNGS
from compare.report.results import Results
from compare.report.tables import by_variant, cells, difference
from compare.study.records import RunFolder

DOCS = Path(__file__).parent
VARIANT, BASELINE = "mlp-bn-after", "mlp"
_TIGHT = "\N{NO-BREAK SPACE}"


def _read(name: str) -> Any:
    return json.loads((DOCS / name).read_text(encoding="utf-8"))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    marks = ["---" if column < left else "---:" for column in range(len(headings))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [headings, marks, *rows])


def _paragraph(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False))


def _study() -> Results:
    folder = RunFolder.open(DOCS / "study")
    # Without distances: they would need the weights of every run.
    return Results(folder.settings, folder.manifest, folder.records(), folder.timings(), ())


def results() -> str:
    """The study's table: one row per variant, the two frameworks below each other."""
    study = _study()
    verdicts = by_variant(study.comparisons, "test_accuracy")
    target = f"epochs to {100 * study.settings.target:g} %"
    rows = []
    for variant, *measures, _ in cells(study.rows, ()):
        accuracy, epochs, seconds = (
            "<br>".join(cell.replace(" ", _TIGHT) for cell in measures[place : place + 2])
            for place in range(0, len(measures), 2)
        )
        apart = difference(verdicts[variant]).replace(", ", f",{_TIGHT}")
        verdict = f"{verdicts[variant].verdict}<br>{apart}"
        rows.append([variant, "Keras<br>Lightning", accuracy, verdict, epochs, seconds])
    headings = ["variant", "", "test accuracy", "Lightning − Keras", target, "s/epoch"]
    return _table(headings, rows, left=2)


def lag() -> str:
    """How much of the speed of convergence is the lag of the moving average."""
    study = _study()

    def epochs(variant: str, curve: str) -> str:
        medians = {
            "never" if c.median is None else f"{c.median:g}"
            for c in study.convergences
            if (c.variant, c.curve) == (variant, curve)
        }
        return " to ".join(sorted(medians, key=len))

    target = f"{100 * study.settings.target:g} %"
    return _paragraph(
        f"Evaluated with the statistics of the batch, `{VARIANT}` reaches {target} after "
        f"{epochs(VARIANT, 'batch_statistics_test_accuracy')} epochs (median over seeds); with the "
        f"moving statistics, as the tutorial evaluates it, after "
        f"{epochs(VARIANT, 'test_accuracy')}: the difference is the lag of a moving average. "
        f"Without batch normalization it takes {epochs(BASELINE, 'test_accuracy')} epochs."
    )


def conditions() -> str:
    """What was trained, where, with which versions."""
    study = _study()
    settings, hardware, versions = (
        study.settings,
        study.manifest["hardware"],
        study.manifest["versions"],
    )
    return _paragraph(
        f"{settings.seeds} seeds; {settings.n_samples:,} points (noise {settings.noise:g}), half "
        f"to train, half to test; {settings.epochs} epochs, batches of {settings.batch_size}, SGD "
        f"{settings.learning_rate:g} with momentum {settings.sgd_momentum:g}, {settings.dtype}, "
        f"every convention matched. {hardware['cpu']}, {hardware['cores']} cores, no GPU, "
        f"{settings.threads} thread per framework; Python {hardware['python']}, Keras "
        f"{versions['keras']} on TensorFlow {versions['tensorflow']}, Torch {versions['torch']}, "
        f"Lightning {versions['lightning']}."
    )


def clocks() -> str:
    """`model.fit` and `Trainer.fit` under a clock, and their floors."""
    timing = _read("timing.json")
    fits = {(f["variant"], f["framework"], f["configuration"]): f for f in timing["figures"]}
    rows = []
    for ratio in timing["ratios"]:
        if ratio["configuration"] != "idiomatic":
            continue
        keras, torch = (fits[ratio["variant"], name, "idiomatic"] for name in ("keras", "torch"))
        floors = [
            min(
                f["epoch_seconds"]
                for f in timing["figures"]
                if f["kind"] == "floor"
                and (f["variant"], f["framework"]) == (ratio["variant"], name)
            )
            for name in ("keras", "torch")
        ]
        rows.append(
            [
                f"`{ratio['variant']}`",
                *(f"{fit['epoch_seconds']:.2g}" for fit in (keras, torch)),
                f"{ratio['estimate']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
                *(f"{floor:.2g}" for floor in floors),
                *(f"{100 * fit['overhead']:.0f} %" for fit in (keras, torch)),
                *(f"{fit['first_step_cold']:.2f} s" for fit in (keras, torch)),
            ]
        )
    headings = [
        *("network", "s/epoch Keras", "s/epoch Lightning", "Keras / Lightning [95 % interval]"),
        *("floor Keras", "floor Torch", "overhead Keras", "overhead Lightning"),
        *("first step Keras, cold", "first step Lightning, cold"),
    ]
    return _table(headings, rows)


def ladder() -> str:
    """On every rung, the absolute difference that came closest to its tolerance."""
    pairs = _read("parity.json")["pairs"]
    variants = list(dict.fromkeys(pair["variant"] for pair in pairs))
    gaps: dict[tuple[int, str], list[float]] = {}
    for pair in pairs:
        for rung in pair["rungs"]:
            if rung["max_abs"] is not None:
                gaps.setdefault((rung["rung"], pair["variant"]), []).append(rung["max_abs"])

    def cell(rung: int, variant: str) -> str:
        return _size(max(gaps.get((rung, variant), ()), default=None))

    return _table(
        ["rung", *variants],
        [[f"{rung} {name}", *(cell(rung, v) for v in variants)] for rung, name in RUNGS.items()],
    )


def ladder_conditions() -> str:
    """What the ladder's numbers were measured on."""
    measured = _read("parity.json")
    pairs, settings = measured["pairs"], measured["settings"]
    passed = sum(pair["passed"] for pair in pairs)
    return _paragraph(
        f"Measured by `bn-compare parity --seeds {settings['seeds']}` ({settings['dtype']}, "
        f"{settings['epochs']} epochs): {passed} of {len(pairs)} pairs pass. Each "
        "number is the absolute difference that came closest to its tolerance; of several seeds, "
        "the largest."
    )


def _size(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}" if value else "0"


def _effect(row: dict[str, Any]) -> list[str]:
    accuracy = row["test_accuracy"]
    return [
        f"`{row['convention']}`" if row["convention"] else "*nothing*",
        f"`{row['variant']}`",
        *(_size(row[key]) for key in ("predictions", "trained_weights", "moving_statistics")),
        _size(row["training_loss"]),
        "0" if not accuracy else f"{accuracy:+.3f}",
        *(str(row[key] or "never") for key in ("epochs_keras", "epochs_torch")),
    ]


_EFFECTS = (
    *("left out", "variant", "predictions", "weights", "statistics", "training loss", "accuracy"),
    *("epochs to 80 % Keras", "epochs to 80 % Lightning"),
)


def conventions(variant: str | None = VARIANT) -> str:
    """What each convention costs where it is left out, the largest effect first.

    Args:
        variant: The variant to show a convention on, where it touches that; None for every row.
    """
    measured = _read("conventions.json")
    rows = [*measured["effects"], *measured["baselines"]]
    if variant is not None:
        shown = {row["convention"] for row in rows if row["variant"] == variant}
        others = {}
        for row in rows:
            others.setdefault(row["convention"], row["variant"])
        rows = [
            row
            for row in rows
            if row["variant"]
            == (variant if row["convention"] in shown else others[row["convention"]])
        ]
    return _table(_EFFECTS, map(_effect, rows), left=2)


def demonstrations() -> str:
    """The largest difference of the small pairs that show what the networks cannot."""
    rows = [
        [f"`{row['convention']}`", *(_size(row[k]) for k in _SIDES)]
        for row in _read("conventions.json")["shown"]
    ]
    return _table(["convention", "with the remedy", "without"], rows)


_SIDES = ("remedied", "unremedied")


def draw(into: Path = DOCS) -> None:
    """Draw the README's four figures.

    Args:
        into: The folder they go to.
    """
    from compare.parity.command import heat_map
    from compare.report import figures
    from compare.report.figure_boundary import decision_boundaries
    from compare.report.results import boundary
    from compare.study.runs import split_of
    from compare.timing.records import TimingRecords
    from compare.timing.report import scaling

    study, folder = _study(), RunFolder.open(DOCS / "study")
    target = study.settings.target
    figures.save(figures.accuracies(study.records, (BASELINE, VARIANT), target), into, "accuracy")
    grids = boundary(folder, study.records, VARIANT).grids
    sides = [grids.get(framework) for framework in ("keras", "torch")]
    drawing = decision_boundaries(VARIANT, split_of(study.settings), *sides)
    figures.save(drawing, into, f"decision-boundary-{VARIANT}")
    figures.save(
        scaling(TimingRecords.open(DOCS / "timing.json").measurements), into, "time-per-step"
    )
    figures.save(heat_map(_read("parity.json")["heat"]), into, "parity-heat-map")


if __name__ == "__main__":
    draw()
