"""What the README says of the default study: its words are here, its numbers come from records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compare.readme import table as readme_table
from compare.readme.conditions import machine
from compare.readme.markdown import paragraph
from compare.report import verdict_table
from compare.report.results import Results
from compare.spec import Settings
from compare.statistics.arrivals import BATCH, MOVING
from compare.wording import LABELS

NETWORK, BASELINE = "mlp-bn-after", "mlp"
"""The networks of the first figure: the tutorial's own question."""

ACCURACY, BOUNDARY = "accuracy", f"decision-boundary-{NETWORK}"
"""Names of the figures' files, without their ending."""

_MADE = (
    "Made by `make compare` and `bn-compare readme runs/…` from [these records](docs/study), and "
    "held against them by a test."
)
_ALT = f"Test accuracy by epoch of {BASELINE} and {NETWORK}, in Keras and in Lightning"


def block(results: Results) -> str:
    """The first screen under the title, as Markdown: table, how to read it, figure, what it shows.

    Args:
        results: A complete study at the default settings.
    """
    conditions = f"{_setup(results.settings)} {at(results.manifest, results.settings)}."
    reading = f"{_reading(results)} {conditions}"
    figure = f"![{_ALT}](docs/{ACCURACY}.png)"
    parts = (paragraph(_MADE), figure, paragraph(_lag(results)), paragraph(reading))
    return "\n\n".join([readme_table.markdown(results), *parts])


def _reading(results: Results) -> str:
    settings = results.settings
    return (
        f"Test accuracy: mean over {settings.seeds} seeds after the last epoch [95 % interval]. "
        "Lightning − Keras: the verdict on it, and the mean difference, paired by seed [95 % "
        f"interval]: {_verdicts(results)}. Epochs to {100 * settings.target:g} %: median over "
        "seeds. s/epoch: `model.fit` and `Trainer.fit`, median over timed epochs of "
        f"{-(-settings.n_train // settings.batch_size)} small steps: their overhead, not "
        "throughput on large networks (see [How fast?](#how-fast))."
    )


def _verdicts(results: Results) -> str:
    """What the verdicts in the table rest on, each once."""
    found = verdict_table.by_variant(results.comparisons, "test_accuracy").values()
    seen = {one.verdict for one in found}
    parts = ["identical, every pair to rounding"] if "identical" in seen else []
    if "equivalent" in seen:
        margin = results.settings.accuracy_margin
        parts.append(f"equivalent, the 90 % interval lies within ±{margin:g}")
    rest = [one for one in found if one.verdict not in ("identical", "equivalent")]
    return "; ".join([*parts, *(f"{one.verdict} for {one.variant}, {one.reason}" for one in rest)])


def _setup(settings: Settings) -> str:
    return (
        f"{settings.n_samples:,} points (noise {settings.noise:g}), half to train, half to test; "
        f"{settings.epochs} epochs, batches of {settings.batch_size}, SGD "
        f"{settings.learning_rate:g} with momentum {settings.sgd_momentum:g}, {settings.dtype}, "
        f"every convention matched (`{settings.alignment}`)."
    )


def at(manifest: Mapping[str, Any], settings: Settings) -> str:
    """Where a study ran, without a full stop.

    Args:
        manifest: Of its run folder.
        settings: Of the study.
    """
    devices = manifest["hardware"]["accelerator"].values()
    return machine(manifest, devices=devices, threads=settings.threads)


def _lag(results: Results) -> str:
    target = f"{100 * results.settings.target:g} %"
    batch, moving, without = (
        _median(results, variant, curve)
        for variant, curve in ((NETWORK, BATCH), (NETWORK, MOVING), (BASELINE, MOVING))
    )
    return (
        "Keras is the wide line, Lightning the thin one on it. Evaluated with the statistics of "
        f"the batch, `{NETWORK}` reaches {target} after {batch} (median over seeds); evaluated "
        f"with the moving statistics, as the tutorial does, after {moving}: the difference is the "
        f"lag of a moving average. Without batch normalization it takes {without}."
    )


def _median(results: Results, variant: str, curve: str) -> str:
    """Epochs to the target: one number where both frameworks agree."""
    found = {
        LABELS[one.framework]: "never" if one.median is None else f"{one.median:g}"
        for one in results.convergences
        if (one.variant, one.curve) == (variant, curve)
    }
    if len(set(found.values())) == 1:
        return f"{next(iter(found.values()))} epochs"
    return " and ".join(f"{median} ({label})" for label, median in found.items()) + " epochs"
