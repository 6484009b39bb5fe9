"""Differences that are accepted once their effect is predicted: what no setting remedies, and what
the user allows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from compare.parity.explain.choices import Difference
from compare.parity.explain.steps import Allowed, Attribution, attribute
from compare.parity.tolerances import Gap
from compare.trace import Trace


@dataclass(frozen=True)
class Accepted:
    """One accepted difference; what is left once it is predicted is within the tolerance.

    Attributes:
        convention: Its name in the catalogue.
        what: What differs in words, with the values of both sides.
        reason: Why it is accepted.
        after_one: The largest difference of a weight after the first step that shows it.
        after_all: The same after all steps, where each side goes on from its own; None where that
            was not measured.
        steps: Number of all steps.
    """

    convention: str
    what: str
    reason: str
    after_one: float
    after_all: float | None = None
    steps: int = 1

    def __str__(self) -> str:
        size = f"weights differ by up to {self.after_one:.1e} after one step"
        if self.after_all is not None and self.steps > 1:
            size += f", {self.after_all:.1e} after {self.steps}"
        return f"{self.convention}: {self.what}; {size}. Accepted: {self.reason}."

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class StepDifferences:
    """What accounts for the differences of optimizer steps.

    Attributes:
        remaining: Name of an array → what is left of its gap, for every step whose differences are
            all accepted.
        accepted: Choice of the optimizer → the difference, as it shows first.
        refused: Step → its attribution, for every step with a difference that is not accepted.
    """

    remaining: Mapping[str, Gap] = field(default_factory=dict)
    accepted: Mapping[str, tuple[int, Difference]] = field(default_factory=dict)
    refused: Mapping[int, Attribution] = field(default_factory=dict)


def step_differences(
    keras: Trace,
    torch: Trace,
    steps: Collection[int],
    allowed: Allowed,
    *,
    allow: Collection[str],
    strict: bool,
) -> StepDifferences:
    """Attribute the steps that differ, and accept what can be.

    Args:
        keras: Keras' trace.
        torch: Torch's trace, with Keras' layer names and layouts; its later steps start from
            Keras' weights.
        steps: Those that differ, in order.
        allowed: Path → tolerance.
        allow: Conventions that the user accepts.
        strict: Whether nothing else is accepted.
    """
    remaining: dict[str, Gap] = {}
    accepted: dict[str, tuple[int, Difference]] = {}
    refused: dict[int, Attribution] = {}
    for step in steps:
        attribution = attribute(keras, torch, step, allowed)
        if not all(_is_accepted(d, allow, strict=strict) for d in attribution.differences):
            refused[step] = attribution
        elif attribution.complete and (attribution.differences or attribution.inherited):
            remaining |= attribution.gaps
            for difference in attribution.differences:
                accepted.setdefault(difference.choice, (step, difference))
        else:
            refused[step] = attribution
    return StepDifferences(remaining, accepted, refused)


def _is_accepted(difference: Difference, allow: Collection[str], *, strict: bool) -> bool:
    return difference.convention in allow or bool(difference.irremediable and not strict)
