"""The one evaluator: the same NumPy functions judge both frameworks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compare.data import Array


def accuracy(probability: Array, label: Array) -> Array:
    """Share of samples on the right side of 0.5; exactly 0.5 counts as class 0, as in Keras.

    Args:
        probability: Probability of class 1, (…, n). A value that is not a number is never right.
        label: 0.0 or 1.0, (n,).

    Returns:
        One share for each leading index, (…).
    """
    right = np.where(label > 0.5, probability > 0.5, probability <= 0.5)
    return np.asarray(np.count_nonzero(right, axis=-1) / len(label))


def binary_cross_entropy(probability: Array, label: Array) -> Array:
    """Mean of −log of the probability given to the true class, in nats, computed in float64.

    A probability that its dtype has rounded to 0 or 1 is moved inside by the dtype's epsilon, as
    `sklearn.metrics.log_loss` does; NaN stays NaN.

    Args:
        probability: Probability of class 1, (…, n).
        label: 0.0 or 1.0, (n,).

    Returns:
        One mean for each leading index, (…).
    """
    epsilon = np.finfo(probability.dtype).eps
    inside = np.clip(probability.astype(np.float64), epsilon, 1.0 - epsilon)
    losses = -np.where(label > 0.5, np.log(inside), np.log1p(-inside))
    return np.asarray(losses.mean(axis=-1))


def first_crossing(curve: Sequence[float], target: float) -> int | None:
    """The first epoch, counted from 1, whose value is at least `target`; None if there is none."""
    return next((epoch for epoch, value in enumerate(curve, start=1) if value >= target), None)
