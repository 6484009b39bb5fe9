"""What explains moving statistics and histories that differ although every step agrees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compare.parity.explain.evidence import Evidence, statistics_update


def moving_statistics(e: Evidence) -> Sequence[str]:
    """A decay fitted to the moving mean, and the variance tracked with ÷ n or ÷ (n − 1)."""
    layer = e.layer()
    if layer is None or e.check.step != 1:
        return ()
    update = statistics_update(e.torch, layer["name"])
    decay, expected = update.decay, statistics_update(e.keras, layer["name"]).decay
    found = np.asarray(e.torch[f"step/1/statistics/{layer['name']}/moving_variance"])
    # In float32 both may hold to rounding: the better one counts.
    unbiased = min((False, True), key=lambda u: e.misfit(update.variance(decay, unbiased=u), found))
    if not e.close(update.variance(decay, unbiased=unbiased), found):
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


def evaluated_while_training(e: Evidence) -> Sequence[str]:
    """Moving statistics move although weights do not, and Torch's test curve is the batch's."""
    moving = e.check.path.endswith(("/moving_mean", "/moving_variance"))
    if e.histories is None or not moving:
        return ()
    torch = e.histories["torch"]
    fits = list(torch["test_accuracy"]) == list(torch["batch_statistics_test_accuracy"])
    return ("eval-mode",) if fits else ()


def epoch_metrics(e: Evidence) -> Sequence[str]:
    """The mean of the steps' losses, each step weighing the same whatever its size.

    It differs from the mean over samples by the short batch's deviation, times the weight that the
    short batch gets too much. A loss that deviates by more than three times itself is another bug.
    """
    if e.histories is None or e.plans is None or e.check.path != "running_train_loss":
        return ()
    first = e.plans["keras"][0]
    samples = (first >= 0).sum(axis=1)
    excess = abs(1.0 / len(samples) - samples[-1] / samples.sum())
    keras, torch = (
        np.array(e.histories[name]["running_train_loss"], dtype=np.float64)
        for name in ("keras", "torch")
    )
    return ("epoch-metrics",) if (np.abs(torch - keras) <= 3.0 * excess * keras).all() else ()
