"""Differences that are accepted once their effect is predicted.

Those are what no setting of Torch's remedies, and what the user allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from compare.conventions import CONVENTIONS
from compare.parity.explain import float32
from compare.parity.explain.choices import Difference
from compare.parity.explain.steps import Allowed, Attribution, attribute
from compare.parity.ladder import Check
from compare.parity.tolerances import Gap, gap
from compare.study.records import json_number
from compare.trace import Trace


@dataclass(frozen=True)
class Accepted:
    """One accepted difference; what is left once it is predicted is within the tolerance.

    Attributes:
        convention: Its name in the catalogue.
        what: What differs in words, with the values of both sides.
        reason: Why it is accepted.
        group: What it moves: `"weights"` or `"statistics"`.
        after_one: The largest difference of those after the first step that shows it.
        after_all: The same after all steps, where each side goes on from its own; None where that
            was not measured.
        steps: Number of all steps.
    """

    convention: str
    what: str
    reason: str
    group: str
    after_one: float
    after_all: float | None = None
    steps: int = 1

    def __str__(self) -> str:
        lines = f"{self.convention}: {self.reason}"
        if self.what:
            lines += f" ({self.what})"
        if math.isnan(self.after_one):
            return f"{lines}."
        lines += f". After one step {self.group} differ by up to {self.after_one:.1e}"
        if self.after_all is not None and self.steps > 1:
            lines += f", after {self.steps} by {self.after_all:.1e}"
        return f"{lines}."

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {**asdict(self), "after_one": json_number(self.after_one)}


@dataclass(frozen=True)
class StepDifferences:
    """What accounts for the differences of optimizer steps.

    Attributes:
        remaining: Name of an array → what is left of its gap, for every step whose differences are
            all accepted.
        accepted: Choice of the optimizer → the difference, as it shows first.
        refused: Step → its attribution, for every step with a difference that is not accepted; of
            one that is complete, without what is accepted.
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
        refusing = [d for d in attribution.differences if not _accepts(d, allow, strict=strict)]
        # Without a difference the rule is the same: what differs came with the gradients, which
        # have a rung of their own, or with slots.
        if attribution.complete and not refusing:
            remaining |= attribution.gaps
            for difference in attribution.differences:
                accepted.setdefault(difference.choice, (step, difference))
        else:
            told = refusing if attribution.complete else attribution.differences
            refused[step] = replace(attribution, differences=tuple(told))
    return StepDifferences(remaining, accepted, refused)


def _accepts(difference: Difference, allow: Collection[str], *, strict: bool) -> bool:
    return difference.convention in allow or bool(difference.irremediable and not strict)


STATISTICS = ("bn-biased-variance", "bn-momentum", "bn-momentum-copied")
"""Conventions whose effect on moving statistics can be computed."""

ALLOWABLE = (
    *STATISTICS,
    *("sgd-momentum-float32", "sgd-default-learning-rate", "sgd-learning-rate-change"),
    *("sgd-dampening", "learning-rate-schedule", "schedule-float32", "weight-decay"),
    *("weight-decay-excluded", "gradient-clipping", "clip-norm-epsilon", "gradient-accumulation"),
    *("adam-epsilon", "adam-beta-float32", "adamax-epsilon", "adagrad-epsilon", "rmsprop-epsilon"),
    *("nadam-momentum-decay", "optimizer-defaults", "optimizer-float32", "optimizer-kind"),
    *("sparse-gradients", "lstm-single-bias"),
)
"""Conventions that `allow` accepts: their effect on a step can be computed."""


def sizes(keras: Trace, torch: Trace, step: int, group: str) -> float:
    """The largest absolute difference of any weight or statistic after a step.

    Args:
        keras: Keras' trace.
        torch: Torch's trace, with Keras' layer names and layouts.
        step: Number of the step, from 1.
        group: `"weights"` or `"statistics"`.
    """
    prefix = f"step/{step}/{group}/"
    both = (key for key in keras if key.startswith(prefix) and key in torch)
    gaps = [gap(keras[key], torch[key]).max_abs for key in both]
    return max(gaps, default=math.nan)


def accepted_differences(
    keras: Trace,
    torch: Trace,
    steps: StepDifferences,
    statistics: Collection[str],
    drifted: Callable[[], Trace | None],
    *,
    rounded: Check | None = None,
) -> tuple[Accepted, ...]:
    """What was accepted, with its measured size.

    Args:
        keras: Keras' trace.
        torch: Torch's trace, each step from Keras' weights.
        steps: What was accepted of the optimizer.
        statistics: Conventions that the user allows, and that change moving statistics here.
        drifted: Torch's trace where each step goes on from its own weights; None where that is
            not known.
        rounded: The first check that shows that Keras rounded to float32; None where it did not.
    """
    last = keras.steps
    entries: list[tuple[str, str, str, str, int]] = []
    for step, d in steps.accepted.values():
        what = "" if d.irremediable else d.setting
        entries.append((d.convention, what, d.irremediable or _ALLOWED, "weights", step))
    for name in statistics:
        convention = CONVENTIONS[name]
        what = f"Keras: {convention.keras}; Torch: {convention.torch}"
        entries.append((name, what, _ALLOWED, "statistics", 1))
    if rounded is not None:
        what = f"at {rounded.layer}, {rounded.path} {rounded.gap.where()}"
        entries.append((float32.NAME, what, _ROUNDED, "weights", 1))
    if not entries:
        return ()
    free = drifted() if last > 1 else None
    return tuple(
        Accepted(
            convention,
            what,
            reason,
            group,
            sizes(keras, torch, step, group),
            None if free is None else sizes(keras, free, last, group),
            last,
        )
        for convention, what, reason, group, step in entries
    )


_ALLOWED = "you allow it"
_ROUNDED = (
    "Keras rounds to float32 there, in float64 too; what follows is compared to that rounding"
)
