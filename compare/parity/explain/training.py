"""What explains steps and statistics that differ although gradients agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compare.parity.explain.evidence import Evidence, explains, statistics_update
from compare.parity.explain.steps import attribute


@explains(7)
def _optimizer(e: Evidence) -> Sequence[str]:
    """Choices of the optimizer that account for all of the step.

    None where most of it is a plain setting, which has no name.
    """
    assert e.check.step is not None
    # Of whole trainings each side's steps go on from its own.
    attribution = attribute(e.keras, e.torch, e.check.step, same_start=not e.plans)
    first = next(iter(attribution.differences), None)
    return attribution.causes if first is not None and first.convention else ()


@explains(8, step=1)
def _moving_statistics(e: Evidence) -> Sequence[str]:
    """A decay fitted to the moving mean, and the variance tracked with ÷ n or ÷ (n − 1)."""
    name = e.layer["name"]
    update = statistics_update(e.torch, name)
    decay, expected = update.decay, statistics_update(e.keras, name).decay
    actual = np.asarray(e.torch[f"step/1/statistics/{name}/moving_variance"])
    predicted = {u: update.variance(decay, unbiased=u) for u in (False, True)}
    # In float32 both may hold to rounding: the better one counts.
    unbiased = min(predicted, key=lambda u: e.misfit(predicted[u], actual))
    if not e.close(predicted[unbiased], actual):
        return ()
    names = ("bn-biased-variance",) if unbiased else ()
    equal = 1e-4 if e.single else 1e-6
    if abs(decay - expected) <= equal:
        return names
    if abs(decay - (1.0 - expected)) <= equal:
        return ("bn-momentum-copied", *names)
    # Updated twice, or never: bugs, and no convention.
    known_bug = min(abs(decay - expected**2), abs(decay - 1.0)) <= equal
    return () if known_bug else ("bn-momentum", *names)
