"""Races to the target in words: who comes first in how many seeds, and what a test says of it."""

from __future__ import annotations

from collections.abc import Iterable

from compare.analysis.races import Race
from compare.report.answers import joined
from compare.wording import LABELS

HEADINGS = ("variant", "who is first", "test")


def lines(found: Iterable[Race]) -> list[list[str]]:
    """One line per race, in the order of `HEADINGS`."""
    return [[race.variant, *(_paired(race) if race.paired else _unpaired(race))] for race in found]


def _paired(race: Race) -> tuple[str, str]:
    if not race.pairs:
        return "no pair is complete", "no p-value without pairs"
    counts = {
        f"{LABELS['keras']} first": race.keras_first,
        f"{LABELS['torch']} first": race.torch_first,
        "together": race.together,
        "neither arrives": race.neither,
    }
    seen = [f"{name} in {count}" for name, count in counts.items() if count]
    seeds = "seed" if race.pairs == 1 else "seeds"
    return f"{joined(seen)} of {race.pairs} {seeds}", _sign_test(race)


def _sign_test(race: Race) -> str:
    if race.sign_test is None:
        return "no p-value: neither is ever first"
    return f"sign test, p = {p_value(race.sign_test)}"


def _unpaired(race: Race) -> tuple[str, str]:
    if race.log_rank is None:
        return "unpaired: no seed decides", "no p-value: too few arrivals"
    return "unpaired: no seed decides", f"log-rank test, p = {p_value(race.log_rank)}"


def p_value(value: float) -> str:
    """A p-value to two digits, such as `0.031` or `1.9e-05`."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
