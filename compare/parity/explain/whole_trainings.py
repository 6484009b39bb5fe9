"""What explains whole trainings that differ: their batches, their modes, their averages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compare.parity.explain.evidence import Evidence, explains


@explains(2)
def _plan(e: Evidence) -> Sequence[str]:
    """Torch drops the short last batch, or sees the same samples in another order."""
    keras, torch = e.plans["keras"], e.plans["torch"]
    short = torch.shape[1]
    if short == keras.shape[1] - 1 and np.array_equal(keras[:, :short], torch):
        return ("last-batch",)
    if keras.shape != torch.shape:
        return ()
    ours, theirs = (np.sort(plan.reshape(len(plan), -1), axis=1) for plan in (keras, torch))
    everywhere = (keras != torch).reshape(len(keras), -1).any(axis=1).all()
    return ("batch-order",) if everywhere and np.array_equal(ours, theirs) else ()


@explains(10, "eval-mode")
def _evaluated_while_training(e: Evidence) -> bool:
    """Moving statistics move although weights do not, and Torch's test curve is the batch's."""
    moving = e.check.path.endswith(("/moving_mean", "/moving_variance"))
    tracked = e.curve("torch", "test_accuracy")
    batch = e.curve("torch", "batch_statistics_test_accuracy")
    return moving and np.array_equal(tracked, batch, equal_nan=True)


@explains(10, "epoch-metrics")
def _epoch_metrics(e: Evidence) -> bool:
    """The mean of the steps' losses, each step weighing the same whatever its size.

    It differs from the mean over samples by the short batch's deviation, times the weight that the
    short batch gets too much. A loss that deviates by more than three times itself is another bug.
    """
    if e.check.path != "running_train_loss":
        return False
    samples = (e.plans["keras"][0] >= 0).sum(axis=1)
    excess = abs(1.0 / len(samples) - samples[-1] / samples.sum())
    keras, torch = (e.curve(framework, "running_train_loss") for framework in ("keras", "torch"))
    return bool((np.abs(torch - keras) <= 3.0 * excess * keras).all())
