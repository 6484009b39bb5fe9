"""The effect of each convention: one remedy left out at a time, and what then differs.

A convention with a switch is measured on the tutorial's networks: both sides are trained, the
remedy is left out on the side where it sits, and the ends are compared. One without a switch is
measured by its demonstration, once with the remedy and once without.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from compare.analysis.frames import largest_difference
from compare.backends.loading import check_installed
from compare.console import LABELS, StudyProgress, Table, magnitude
from compare.conventions import CONVENTIONS, FOUND, Convention, check_names
from compare.data import Array
from compare.errors import InputError
from compare.spec import FRAMEWORKS, VARIANTS, Run, Settings
from compare.study.records import json_number
from compare.study.runs import Outcome
from compare.study.workers import Worker

REPRESENTATIVES = ("mlp-bn-after", "cnn-bn", "lstm-bn")
"""The variant that stands for its family, where it shows the convention."""

_PROBABILITIES = {"test_probability", "grid_probability"}
_STATISTICS = ("/moving_mean", "/moving_variance")

Progress = Callable[[Run, int, str], None]
"""Called with a run, the number of its epochs that are done, and what was left out."""


@dataclass(frozen=True)
class Job:
    """One training: a variant in a framework, with one convention's remedy left out, or none."""

    variant: str
    framework: str
    undone: str | None


@dataclass(frozen=True)
class Effect:
    """How far Keras and Torch end from each other; differences are NaN where a side diverged.

    Attributes:
        convention: The one whose remedy was left out; None where every remedy was in place.
        variant: What was trained.
        trained_weights: Largest absolute difference of the trained weights. A scale or a shift that
            one side does not have counts as 1 or 0.
        moving_statistics: The same for the moving statistics; None where there are none.
        predictions: The same for the test probabilities after the last epoch.
        training_loss: The same for the running training loss, over all epochs.
        test_accuracy: Torch's final test accuracy minus Keras'; NaN where a side diverged.
        epochs_keras: Epochs until Keras reached the target accuracy; None if it never did.
        epochs_torch: The same for Torch.
    """

    convention: str | None
    variant: str
    trained_weights: float
    moving_statistics: float | None
    predictions: float
    training_loss: float
    test_accuracy: float
    epochs_keras: int | None
    epochs_torch: int | None


@dataclass(frozen=True)
class Shown:
    """A demonstration: the largest absolute difference with the remedy in place, and without."""

    convention: str
    remedied: float
    unremedied: float


@dataclass(frozen=True)
class Measured:
    """Everything measured, each list ranked, the largest effect first.

    `complete` is False where Ctrl-C ended it early: rows are missing then, none is half measured.
    """

    baselines: list[Effect]
    effects: list[Effect]
    shown: list[Shown]
    complete: bool = True


def measurable(
    names: Iterable[str], variants: Sequence[str] | None
) -> tuple[list[tuple[Convention, str]], list[Convention]]:
    """What there is to train, and what to demonstrate.

    Args:
        names: Conventions.
        variants: Where to measure; None for one variant of every family that a convention touches.

    Returns:
        Pairs of a convention with a switch and a variant, and the conventions without a switch.

    Raises:
        InputError: None of the conventions shows in any of the variants.
    """
    chosen = [CONVENTIONS[name] for name in names]
    pairs = [(c, v) for c in chosen for v in _variants(c, variants)]
    # A demonstration belongs to no variant.
    demonstrated = [c for c in chosen if not c.switch] if variants is None else []
    if not pairs and not demonstrated:
        raise InputError(
            f"nothing to measure: {', '.join(variants or ())} shows none of "
            f"{', '.join(c.name for c in chosen)}. Leave out --variants, or name others."
        )
    return pairs, demonstrated


def _variants(convention: Convention, variants: Sequence[str] | None) -> list[str]:
    if variants is not None:
        return [v for v in variants if v in convention.touches]
    families: dict[str, str] = {}
    for name in sorted(convention.touches, key=lambda v: v not in REPRESENTATIVES):
        families.setdefault(VARIANTS[name].family, name)
    return list(families.values())


def jobs(pairs: Iterable[tuple[Convention, str]]) -> list[Job]:
    """The trainings that the pairs need, each once: both sides remedied, then without."""
    needed: dict[Job, None] = {}
    for convention, variant in sorted(pairs, key=lambda pair: pair[1]):
        needed |= dict.fromkeys((*_needed(None, variant), *_needed(convention, variant)))
    return list(needed)


def _needed(convention: Convention | None, variant: str) -> list[Job]:
    """The trainings that a row compares, in the order of `FRAMEWORKS`."""
    undone = {
        framework: convention.name
        for framework in FRAMEWORKS
        if convention and convention.side in (framework, "both")
    }
    return [Job(variant, framework, undone.get(framework)) for framework in FRAMEWORKS]


def measure(
    pairs: Sequence[tuple[Convention, str]],
    demonstrated: Sequence[Convention],
    settings: Settings,
    *,
    progress: Progress,
) -> Measured:
    """Train and demonstrate in one process per framework.

    Args:
        pairs: What `measurable` returned.
        demonstrated: The same.
        settings: Of all trainings; seed 0 is used.
        progress: Called after every epoch.

    Raises:
        MissingDependencyError: A framework is not installed.
        WorkerError: A framework's process died or raised.
    """
    check_installed(FRAMEWORKS)
    ends: dict[Job, Outcome] = {}
    needed = jobs(pairs)
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, settings)) for name in FRAMEWORKS}
        for worker in workers.values():
            worker.ready()
        shown = [_show(convention, workers) for convention in demonstrated]
        try:
            for job in needed:
                ends[job] = _train(job, workers[job.framework], settings, progress)
        except KeyboardInterrupt:
            pass  # Print what was trained until then.

    def effects(rows: Iterable[tuple[Convention | None, str]]) -> Iterator[Effect]:
        for convention, variant in rows:
            sides = [ends[job] for job in _needed(convention, variant) if job in ends]
            if len(sides) == len(FRAMEWORKS):
                yield effect(convention.name if convention else None, variant, *sides)

    return Measured(
        list(effects((None, variant) for variant in sorted({v for _, v in pairs}))),
        sorted(effects(pairs), key=rank, reverse=True),
        sorted(shown, key=lambda s: s.unremedied, reverse=True),
        complete=len(ends) == len(needed),
    )


def rank(effect: Effect) -> list[float]:
    """By predictions, then by what a reader would notice next; what diverged comes first."""
    keys = (
        effect.predictions,
        effect.trained_weights,
        effect.moving_statistics or 0.0,
        effect.training_loss,
    )
    return [math.inf if math.isnan(key) else key for key in keys]


def _train(job: Job, worker: Worker, settings: Settings, progress: Progress) -> Outcome:
    run = Run(job.variant, job.framework, 0)
    undo = (job.undone,) if job.undone else ()
    note = f"without {job.undone}" if job.undone else "remedied"
    progress(run, 0, note)
    return worker.run(run, lambda epoch: progress(run, epoch, note), replace(settings, undo=undo))


def _show(convention: Convention, workers: Mapping[str, Worker]) -> Shown:
    gaps = []
    for remedied in (True, False):
        keras, torch = (
            worker.demonstrate(convention.name, remedied=remedied) for worker in workers.values()
        )
        gaps.append(largest_difference([keras[n] for n in keras], [torch[n] for n in keras]))
    return Shown(convention.name, *gaps)


def effect(convention: str | None, variant: str, keras: Outcome, torch: Outcome) -> Effect:
    """How far two ends are from each other.

    Args:
        convention: What was left out; None for nothing.
        variant: What was trained.
        keras: Keras' end.
        torch: Torch's end.
    """

    def gap(names: Sequence[str]) -> float:
        ours, theirs = keras.arrays, torch.arrays
        return largest_difference(
            [ours[n] if n in ours else _absent(n, theirs[n]) for n in names],
            [theirs[n] if n in theirs else _absent(n, ours[n]) for n in names],
        )

    names = (keras.arrays.keys() | torch.arrays.keys()) - _PROBABILITIES
    moving = sorted(name for name in names if name.endswith(_STATISTICS))
    losses, accuracies = (
        [np.array(end.record[part][metric], dtype=np.float64) for end in (keras, torch)]
        for part, metric in (("history", "running_train_loss"), ("final", "test_accuracy"))
    )
    return Effect(
        convention=convention,
        variant=variant,
        trained_weights=gap(sorted(names.difference(moving))),
        moving_statistics=gap(moving) if moving else None,
        predictions=gap(["test_probability"]),
        training_loss=largest_difference(losses[:1], losses[1:]),
        test_accuracy=float(accuracies[1] - accuracies[0]),
        epochs_keras=keras.record["epochs_to_target"],
        epochs_torch=torch.record["epochs_to_target"],
    )


def _absent(name: str, other: Array) -> Array:
    """What a batch normalization without this tensor computes with."""
    return np.ones_like(other) if name.endswith("/gamma") else np.zeros_like(other)


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
    rows = {
        "Keras": convention.keras,
        "Torch": convention.torch,
        "in Torch": convention.remedy("torch"),
        "in Keras": convention.remedy("keras"),
        "source": convention.source,
        "found": "; ".join(FOUND[way] for way in convention.found),
        "undone": where,
    }
    width = max(map(len, rows))
    return "\n".join([convention.name, *(f"  {k:<{width}}  {v}" for k, v in rows.items())])


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
    settings = Settings(variants=tuple(variants) or REPRESENTATIVES, epochs=epochs, dtype="float64")
    pairs, demonstrated = measurable(names or CONVENTIONS, variants or None)
    with StudyProgress(settings, runs=len(jobs(pairs))) as progress:
        measured = measure(pairs, demonstrated, settings, progress=progress)
    if as_json:
        print(json.dumps(_json(measured, settings), allow_nan=False))
    else:
        print_tables(measured, settings)
    if not measured.complete:
        print("bn-compare: interrupted: rows are missing.", file=sys.stderr)
        raise KeyboardInterrupt


def _json(measured: Measured, settings: Settings) -> dict[str, Any]:
    content = {"settings": settings.to_dict(), **asdict(measured)}
    for key in ("baselines", "effects", "shown"):
        content[key] = [
            {k: json_number(v) if isinstance(v, float) else v for k, v in row.items()}
            for row in content[key]
        ]
    return content


def print_tables(measured: Measured, settings: Settings) -> None:
    """Print what was measured, the largest effects first."""
    if measured.effects:
        print(
            f"One remedy left out at a time, {settings.epochs} epochs, float64, seed 0: "
            "max |Keras − Torch| at the end (training loss: over all epochs)."
        )
        headings = ["left out", "variant", "predictions", "weights", "statistics", "training loss"]
        epochs = [f"epochs to {100 * settings.target:g} % {label}" for label in LABELS.values()]
        rows = [cells(effect) for effect in (*measured.effects, *measured.baselines)]
        Table([*headings, "accuracy", *epochs], rows, left=2).print()
    if measured.shown:
        print("What the variants do not show, on a small pair each: max |Keras − Torch|.")
        shown = [
            [s.convention, magnitude(s.remedied), magnitude(s.unremedied)] for s in measured.shown
        ]
        Table(["convention", "with the remedy", "without"], shown, left=1).print()


def cells(effect: Effect) -> list[str]:
    """One line of the table of effects."""
    accuracy = effect.test_accuracy
    return [
        effect.convention or "nothing",
        effect.variant,
        magnitude(effect.predictions),
        magnitude(effect.trained_weights),
        magnitude(effect.moving_statistics),
        magnitude(effect.training_loss),
        "NaN" if math.isnan(accuracy) else f"{accuracy:+.3f}" if accuracy else "0",
        *(
            "never" if epoch is None else str(epoch)
            for epoch in (effect.epochs_keras, effect.epochs_torch)
        ),
    ]
