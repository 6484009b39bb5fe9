"""`bn-compare selftest --statistics`: runs the simulations, prints what came of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from compare.statistics.intervals import METHODS, Method, chosen
from compare.terminal import print_grid
from compare.trials.populations import Population, populations
from compare.trials.power import SHIFT, Power, power
from compare.trials.simulation import (
    COVERAGE,
    MOST_FALSE,
    SIMULATIONS,
    SIZES,
    Trial,
    trials,
)
from compare.wording import MISSING

SEED = 2026
"""Every self-test draws the same samples: one that fails fails again."""


class _Say(Protocol):
    def __call__(self, text: str, /) -> None: ...


def run(*, as_json: bool, simulations: int = SIMULATIONS, method: Method = chosen) -> int:
    """Run the simulations and print what came of them.

    Args:
        as_json: Whether to print JSON and nothing else.
        simulations: Samples per population and number of pairs.
        method: Makes the intervals on trial.

    Returns:
        The exit code: 0 if every bound is kept where it is asked for, 1 otherwise.
    """
    everything = populations()
    with_runs = [population for population in everything if population.sides is not None]
    rng = np.random.default_rng(SEED)
    with _watched(len(everything) * len(SIZES) + len(with_runs)) as say:
        tried = list(_tried(everything, rng, simulations, method, say))
        powers = []
        for population in with_runs:
            powers.append(power(population, rng))
            say(f"power, {population.name}")
    return show(tried, powers, as_json=as_json)


def show(tried: Sequence[Trial], powers: Sequence[Power], *, as_json: bool) -> int:
    """Print the results on stdout; returns the exit code."""
    passed = bool(tried) and all(trial.passed for trial in tried)
    if as_json:
        print(json.dumps(_summary(tried, powers, passed), allow_nan=False))
        return 0 if passed else 1
    _print_trials(tried)
    print(*_notes(tried), sep="\n")
    _print_powers(powers)
    vouched = [trial for trial in tried if not trial.elsewhere]
    kept = sum(trial.passed for trial in vouched)
    low, high = COVERAGE
    print(
        f"{kept} of {len(vouched)} within bounds: coverage {100 * low:.0f} to {100 * high:.0f} %, "
        f"false verdicts at most {100 * MOST_FALSE:.0f} %"
    )
    return 0 if passed else 1


def _tried(
    found: Sequence[Population],
    rng: np.random.Generator,
    simulations: int,
    method: Method,
    say: _Say,
) -> Iterator[Trial]:
    for trial in trials(found, rng, simulations=simulations, method=method):
        say(f"{trial.population}, n = {trial.n}: {_word(trial)}")
        yield trial


@contextmanager
def _watched(total: int) -> Iterator[_Say]:
    """Yields what to tell of every step; a bar on a terminal, a line elsewhere. stderr alone."""
    err = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("drawing samples", total=total)

        def say(text: str) -> None:
            bar.update(task, advance=1, description=text)
            if not err.is_terminal:
                done = int(bar.tasks[0].completed)
                err.print(f"[{done}/{total}] {text}", markup=False, highlight=False)

        yield say


def _summary(tried: Sequence[Trial], powers: Sequence[Power], passed: bool) -> dict[str, Any]:
    return {
        "passed": passed,
        "bounds": {"coverage": list(COVERAGE), "most_false": MOST_FALSE},
        "trials": [trial.to_json() for trial in tried],
        "power": [found.to_json() for found in powers],
    }


def _print_trials(tried: Sequence[Trial]) -> None:
    candidates = [f"by {name.removesuffix(' bootstrap')}" for name in METHODS]
    names = ("differences", "n", "nonzero", "skewness", "no interval", "coverage", *candidates)
    lines = [
        [
            trial.population,
            str(trial.n),
            _percent(trial.nonzero, 0),
            f"{trial.skewness:.1f}",
            _percent(trial.refused),
            _percent(trial.coverage),
            *(_percent(trial.others.get(name)) for name in METHODS),
            _percent(trial.false_different),
            _percent(trial.false_equivalent),
            _word(trial),
        ]
        for trial in tried
    ]
    print_grid([*names, "false different", "false equivalent", "bounds"], lines, left=1)


def _print_powers(powers: Sequence[Power]) -> None:
    names = ("differences", "correlation", "seeds, paired", "seeds, unpaired", "fewer by")
    lines = []
    for found in powers:
        seeds = [MISSING if n is None else str(n) for n in (found.paired, found.unpaired)]
        fewer = None
        if found.paired is not None and found.unpaired is not None:
            fewer = 1.0 - found.paired / found.unpaired
        lines.append([found.population, f"{found.correlation:.3f}", *seeds, _percent(fewer, 0)])
    print(f"\nSeeds to find a difference of {SHIFT} four times out of five:")
    print_grid(names, lines, left=1)


def _notes(tried: Sequence[Trial]) -> list[str]:
    """Why bounds are not asked for, one line per reason."""
    reasons: dict[str, list[str]] = {}
    for trial in tried:
        if trial.elsewhere:
            reasons.setdefault(trial.elsewhere, []).append(trial.population)
    return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in reasons.items()]


def _word(trial: Trial) -> str:
    if not trial.passed:
        return "BROKEN" if trial.reproducible else "UNSEEDED"
    return "measured" if trial.elsewhere else "kept"


def _percent(value: float | None, digits: int = 1) -> str:
    return MISSING if value is None else f"{100 * value:.{digits}f} %"
