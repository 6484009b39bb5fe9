"""Small computations for the conventions of optimizers, as in `demos`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import optimizers

from compare.backends.keras.demos import (
    DECAY,
    LARGEST_NORM,
    RATE,
    STEPS,
    Demonstration,
    adam,
    sgd,
    trained_dense,
)

LARGE_RATE, SHARE = 10.0, 0.3


def _plain(remedied: bool) -> dict[str, Any]:
    return trained_dense(sgd())


def _spared(remedied: bool) -> dict[str, Any]:
    """A bias that does not decay."""
    optimizer = sgd(weight_decay=DECAY)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return trained_dense(optimizer)


def _decayed(remedied: bool) -> dict[str, Any]:
    """Large weights after a step of weight decay alone."""
    weights = keras.Variable(np.array([1e3, 2e3, 3e3]))
    decay = np.float64(SHARE) if remedied else SHARE
    optimizers.SGD(1.0, weight_decay=decay).apply([keras.ops.zeros(3)], [weights])
    return {"weights": weights}


def _schedule(remedied: bool) -> dict[str, Any]:
    """The learning rates of a schedule."""
    numbers = [LARGE_RATE, 0.9]
    rate, share = map(np.float64, numbers) if remedied else numbers
    schedule = optimizers.schedules.ExponentialDecay(rate, decay_steps=1, decay_rate=share)
    return {"rates": np.array([float(schedule(step)) for step in range(STEPS)])}


def _betas() -> dict[str, Any]:
    return {"beta_1": np.float64(0.9), "beta_2": np.float64(0.999)}


DEMONSTRATIONS: dict[str, Demonstration] = {
    "optimizer-kind": lambda remedied: trained_dense(adam()),
    "adamax-epsilon": lambda remedied: trained_dense(optimizers.Adamax(RATE, **_betas())),
    "adagrad-epsilon": lambda remedied: trained_dense(
        optimizers.Adagrad(RATE, initial_accumulator_value=0.0)
    ),
    "nadam-momentum-decay": lambda remedied: trained_dense(optimizers.Nadam(RATE, **_betas())),
    "optimizer-float32": _decayed,
    "schedule-float32": _schedule,
    "sgd-dampening": _plain,
    "weight-decay-excluded": _spared,
    "clip-norm-epsilon": lambda remedied: trained_dense(sgd(global_clipnorm=LARGEST_NORM)),
    "gradient-accumulation": lambda remedied: trained_dense(sgd(gradient_accumulation_steps=2)),
}
"""Name of the convention → its demonstration."""
