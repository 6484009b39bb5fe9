"""A short look at the clock that closes a study at the fast pace, which times nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from compare.spec import Settings
from compare.study.clock import time_once
from compare.study.engine import Worker
from compare.study.records import RunFolder
from compare.study.runs import Run

REPETITIONS, EPOCHS = 2, 6
"""Fits per variant and framework, and the epochs of each: about half a minute for ten variants."""


def time_variants(
    settings: Settings,
    workers: Mapping[str, Worker],
    folder: RunFolder,
    say: Callable[[str], None],
) -> None:
    """Time `model.fit` and `Trainer.fit` of every variant as a user writes them, in turns.

    Nothing else computes meanwhile, and nothing is evaluated. `bn-compare time` measures the same
    with more care.

    Args:
        settings: Settings of the study.
        workers: Framework → its process.
        folder: Receives a timing per fit.
        say: Told what is under way.
    """
    for variant, repetition, name in _in_turn(settings, list(workers)):
        say(f"timing {variant} in {name}, {repetition} of {REPETITIONS}")
        short = replace(settings, epochs=EPOCHS)
        job = partial(time_once, Run(variant, name, 0), short, "idiomatic", False)
        folder.append_timing(_timing(variant, name, repetition, workers[name].call(job)))


def _in_turn(settings: Settings, names: list[str]) -> Iterator[tuple[str, int, str]]:
    for variant in settings.variants:
        for repetition in range(1, REPETITIONS + 1):
            for name in names if repetition % 2 else reversed(names):
                yield variant, repetition, name


def _timing(variant: str, name: str, repetition: int, found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "variant": variant,
        "framework": name,
        "repetition": repetition,
        "first_step_seconds": found["first_step"],
        # The first epoch traces, compiles and sets up the loaders.
        "epoch_seconds": np.diff(found["epoch_ends"]).tolist(),
        "other_cores": found["other_cores"],
    }
