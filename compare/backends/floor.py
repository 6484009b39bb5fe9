"""The floor of timed fits: what the same training takes without the framework's loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def time_floor(
    train: Callable[..., None], n: int, *, epochs: int, clock: Callable[[], float]
) -> dict[str, Any]:
    """Train on shuffled samples under a clock; the stamps are those of `Framework.time_fit`.

    Args:
        train: A framework's own training; takes `orders`, (epochs, n), and `on_epoch`, called
            after every epoch with the running loss and accuracy.
        n: Number of training samples.
        epochs: Passes over them.
        clock: The time in seconds.
    """
    rng = np.random.default_rng(0)
    orders = np.stack([rng.permutation(n) for _ in range(epochs)])
    ends: list[float] = []
    start = clock()
    train(orders=orders, on_epoch=lambda loss, accuracy: ends.append(clock() - start))
    return {"first_step": None, "epoch_ends": ends, "note": ""}
