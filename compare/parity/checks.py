"""The ladder: eleven rungs, from structure to outcome, on each of which two sides must agree.

A rung is a list of checks in the order in which things are computed, so that the first one that
fails is the first thing that differs. What is checked on each is in `compare.parity.rungs`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from compare.parity.gaps import Gap

RUNGS: Mapping[int, str] = {
    1: "structure",
    2: "data plan",
    3: "initial weights",
    4: "forward, training",
    5: "loss",
    6: "gradients",
    7: "optimizer steps",
    8: "moving statistics",
    9: "forward, evaluation",
    10: "trajectory",
    11: "outcome",
}

FORWARD = 4
"""The first rung on which anything is computed, layer by layer."""


@dataclass(frozen=True)
class Check:
    """One comparison on one rung.

    Attributes:
        rung: Number of the rung, 1 … 11.
        path: What was compared: a name within the trace, or of a quantity.
        layer: Who is to blame if it fails.
        step: Step, or epoch on rungs 2, 10 and 11, counted from 1; None where there is none.
        gap: How far the two sides are apart.
        allowed: The tolerance, to be multiplied by the scale.
    """

    rung: int
    path: str
    layer: str
    step: int | None
    gap: Gap
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the two sides agree here."""
        return self.gap.within(self.allowed)


@dataclass(frozen=True)
class Divergence:
    """The first thing that differs.

    Attributes:
        rung: Number of the rung.
        rung_name: Its name.
        step: Step or epoch, counted from 1; None where there is none.
        layer: The layer whose inputs agree and whose output does not, or `between A and B`,
            `loss`, `optimizer`, `data` …
        explained_by: Names of the conventions that explain it; empty where none is known to.
    """

    rung: int
    rung_name: str
    step: int | None
    layer: str
    explained_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class RungResult:
    """A rung summed up by its worst check.

    `max_abs`, `max_rel` and `required` are None where nothing was compared; `where` is the path of
    the worst check, with index and values.
    """

    rung: int
    rung_name: str
    passed: bool
    max_abs: float | None
    max_rel: float | None
    where: str | None
    allowed: float
    required: float | None


@dataclass
class Ladder:
    """All checks of one pair, in order.

    Attributes:
        tolerances: Rung → tolerance.
        wider: Path of a check → tolerance, where that is larger than the rung's.
        checks: Filled as rungs are climbed.
        climbed: Rungs that were gone through, also those without anything to compare.
        notes: What was put right before it was compared.
    """

    tolerances: Mapping[int, float]
    wider: Mapping[str, float] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    climbed: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, rung: int, path: str, layer: str, found: Gap, step: int | None = None) -> bool:
        """Note one comparison; returns whether it passed."""
        allowed = max(self.tolerances[rung], self.wider.get(path, 0.0))
        check = Check(rung, path, layer, step, found, allowed)
        self.checks.append(check)
        return check.passed

    def note(self, text: str) -> None:
        """Note something, once."""
        if text not in self.notes:
            self.notes.append(text)

    def fresh(self) -> Ladder:
        """An empty ladder with the same tolerances."""
        return Ladder(self.tolerances, self.wider)

    @property
    def passed(self) -> bool:
        """Whether every check passed, and at least one was made."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def first_failure(self) -> Check | None:
        """The first check that failed, on the lowest rung."""
        failed = (check for check in self.checks if not check.passed)
        return min(failed, key=lambda check: check.rung, default=None)

    def results(self) -> list[RungResult]:
        """One result per rung climbed, in order."""
        return [self._result(rung) for rung in sorted(set(self.climbed))]

    def _result(self, rung: int) -> RungResult:
        checks = [check for check in self.checks if check.rung == rung]
        if not checks:
            return RungResult(
                rung, RUNGS[rung], True, None, None, None, self.tolerances[rung], None
            )
        worst = max(checks, key=_badness)
        step = "" if worst.step is None else f"{_unit(rung)} {worst.step}: "
        return RungResult(
            rung=rung,
            rung_name=RUNGS[rung],
            passed=all(check.passed for check in checks),
            max_abs=worst.gap.max_abs,
            max_rel=max((c.gap.max_rel for c in checks), key=nan_last),
            where=f"{step}{worst.path} {worst.gap.where()}",
            allowed=worst.allowed,
            required=worst.gap.required,
        )


def _unit(rung: int) -> str:
    return "epoch" if rung in (2, 10, 11) else "step"


def nan_last(value: float) -> float:
    """A key for `max` by which what is not a number is the largest."""
    return math.inf if math.isnan(value) else value


def _badness(check: Check) -> tuple[float, float]:
    """How far above its own tolerance a check is; a tolerance of zero knows no degrees."""
    required = nan_last(check.gap.required)
    if check.allowed > 0.0:
        return required / check.allowed, required
    return (math.inf if required > 0.0 else 0.0), required
