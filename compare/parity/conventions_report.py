"""What `bn-compare conventions` prints: the catalogue, or the measured effect of its entries."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from compare.conventions import CONVENTIONS, Convention, check_names
from compare.parity import effects
from compare.parity.effects import Effect, Measured
from compare.progress import StudyProgress
from compare.spec import Settings
from compare.study.records import json_number
from compare.terminal import console
from compare.wording import LABELS, magnitude

_FIELDS = {
    "keras": "Keras",
    "torch": "Torch",
    "to_torch": "in Torch",
    "to_keras": "in Keras",
    "source": "source",
}


def print_catalogue(names: Sequence[str], *, as_json: bool) -> None:
    """Print some conventions, or all.

    Args:
        names: Conventions; none for all.
        as_json: Whether to print JSON.

    Raises:
        InputError: A name is unknown.
    """
    check_names(names)
    chosen = [CONVENTIONS[name] for name in names or CONVENTIONS]
    if as_json:
        print(json.dumps({"conventions": [asdict(c) for c in chosen]}, ensure_ascii=False))
        return
    print("\n\n".join(_described(convention) for convention in chosen))


def _described(convention: Convention) -> str:
    where = (
        f"--undo {convention.name}; shows in {', '.join(convention.touches)}"
        if convention.switch
        else "a demonstration of its own"
    )
    width = max(map(len, [*_FIELDS.values(), "undone"]))
    lines = [
        f"  {label:<{width}}  {getattr(convention, field)}" for field, label in _FIELDS.items()
    ]
    return "\n".join([convention.name, *lines, f"  {'undone':<{width}}  {where}"])


def print_effects(
    names: Sequence[str], variants: Sequence[str], *, epochs: int, as_json: bool
) -> None:
    """Measure some conventions, or all, and print the ranking.

    Args:
        names: Conventions; none for all.
        variants: Where to measure; none for one variant of every family touched.
        epochs: Passes over the training half.
        as_json: Whether to print JSON.

    Raises:
        InputError: A name is unknown, or there is nothing to measure.
        MissingDependencyError: A framework is not installed.
        WorkerError: A framework's process died or raised.
        KeyboardInterrupt: After the rows that were complete have been printed.
    """
    check_names(names)
    settings = Settings(
        variants=tuple(variants) or effects.REPRESENTATIVES, epochs=epochs, dtype="float64"
    )
    pairs, demonstrated = effects.measurable(names or CONVENTIONS, variants or None)
    with StudyProgress(settings, runs=len(effects.jobs(pairs))) as progress:
        measured = effects.measure(pairs, demonstrated, settings, progress=progress)
    if as_json:
        print(json.dumps(_json(measured, settings), allow_nan=False))
    else:
        _print_tables(measured, settings)
    if not measured.complete:
        print("bn-compare: interrupted: rows are missing.", file=sys.stderr)
        raise KeyboardInterrupt


def _json(measured: Measured, settings: Settings) -> dict[str, Any]:
    content = {"settings": settings.to_dict(), **asdict(measured)}
    for key in ("baselines", "effects", "shown"):
        content[key] = [{k: _number(v) for k, v in row.items()} for row in content[key]]
    return content


def _number(value: object) -> object:
    return json_number(value) if isinstance(value, float) else value


def _print_tables(measured: Measured, settings: Settings) -> None:
    stdout = console()
    if measured.effects:
        stdout.print(
            f"One remedy left out at a time, {settings.epochs} epochs, float64, seed 0: "
            "max |Keras − Torch| at the end (training loss: over all epochs)."
        )
        grid = Table(*headings(settings.target))
        for effect in (*measured.effects, *measured.baselines):
            grid.add_row(*cells(effect))
        stdout.print(grid)
    if measured.shown:
        stdout.print("What the variants do not show, on a small pair each: max |Keras − Torch|.")
        grid = Table("convention", "with the remedy", "without")
        for shown in measured.shown:
            grid.add_row(shown.convention, magnitude(shown.remedied), magnitude(shown.unremedied))
        stdout.print(grid)


def headings(target: float) -> list[str]:
    """Headings of the columns of `cells`.

    Args:
        target: The test accuracy that counts as converged, in (0, 1].
    """
    return [
        "left out",
        "variant",
        "predictions",
        "weights",
        "statistics",
        "training loss",
        "accuracy",
        *(f"epochs to {100 * target:g} % {label}" for label in LABELS.values()),
    ]


def cells(effect: Effect) -> list[str]:
    """One line of the table of effects, in the order of `headings`."""
    differences = (
        effect.predictions,
        effect.trained_weights,
        effect.moving_statistics,
        effect.training_loss,
    )
    epochs = (effect.epochs_keras, effect.epochs_torch)
    return [
        effect.convention or "nothing",
        effect.variant,
        *map(magnitude, differences),
        _signed(effect.test_accuracy),
        *("never" if epoch is None else str(epoch) for epoch in epochs),
    ]


def _signed(difference: float) -> str:
    if math.isnan(difference):
        return "NaN"
    return f"{difference:+.3f}" if difference else "0"
