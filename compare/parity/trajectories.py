"""Rungs 10 and 11: two whole trainings, epoch by epoch, and where they end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.parity import ladder as rungs
from compare.parity.ladder import Ladder
from compare.study.runs import Outcome

LOSSES = {
    "prediction/train_loss": "train_loss",
    "prediction/test_loss": "test_loss",
    "running_train_loss": "running_train_loss",
}
"""Name in the ladder → curve. Two are computed here from predictions, which are then to blame."""

COUNTS = ("train_accuracy", "test_accuracy", "running_train_accuracy")


def climb(ladder: Ladder, keras: Outcome, torch: Outcome) -> None:
    """Rungs 10 and 11 from two whole trainings."""
    sides = [
        {**side.trajectory, **{name: _curve(side, curve) for name, curve in LOSSES.items()}}
        for side in (keras, torch)
    ]
    rungs.trajectory(ladder, *sides)
    rungs.outcome(ladder, _outcome(keras), _outcome(torch))


def _curve(side: Outcome, name: str) -> NDArray[Any]:
    values = side.record["history"][name]
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)


def _outcome(side: Outcome) -> dict[str, Any]:
    settings = side.record["settings"]
    n_train = settings["n_samples"] // 2
    n_test = settings["n_samples"] - n_train
    counts = {
        f"{name} as a count": [
            None if math.isnan(v) else round(v * (n_test if name.startswith("test") else n_train))
            for v in _curve(side, name)
        ]
        for name in COUNTS
    }
    return {
        "test_probability": side.arrays["test_probability"],
        "grid_probability": side.arrays["grid_probability"],
        **counts,
        "epochs to target": [side.record["epochs_to_target"]],
    }


Heat = dict[str, list[float]]
"""Layer → largest difference of its weights and statistics after every epoch."""


def heat(keras: Outcome, torch: Outcome) -> Heat:
    """Largest difference per layer and epoch, over the tensors that both trajectories have."""
    ours, theirs = keras.trajectory, torch.trajectory
    found: dict[str, NDArray[Any]] = {}
    for name in ours.keys() & theirs.keys():
        if ours[name].shape != theirs[name].shape:
            continue
        axes = tuple(range(1, ours[name].ndim))
        worst = np.abs(ours[name] - theirs[name]).max(axis=axes)
        layer = name.rpartition("/")[0]
        found[layer] = np.maximum(found[layer], worst) if layer in found else worst
    order = dict.fromkeys(name.rpartition("/")[0] for name in ours)
    return {layer: [float(v) for v in found[layer]] for layer in order if layer in found}
