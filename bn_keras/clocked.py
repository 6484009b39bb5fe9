"""`model.fit` over planned batches under a clock: bare, or with a callback between two stamps."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras
import numpy as np

from bn_keras.data import PlannedBatches
from bn_keras.training import fit, reporting

clock = time.perf_counter


def time_planned(
    handle: keras.Model,
    data: tuple[np.ndarray, np.ndarray],
    *,
    orders: np.ndarray,
    batch_size: int,
    bracketed: bool,
    on_epoch: Callable[[float, float], None] | None = None,
) -> dict[str, list[float]]:
    """Train once, in planned orders.

    Args:
        handle: A fresh model, built and compiled by the adapter.
        data: Samples in Keras' layout, and labels, (n,).
        orders: The order of the samples in every epoch, (epochs, n).
        batch_size: Samples per batch; a short last batch is kept.
        bracketed: Whether to measure what happens on the clock around `on_epoch`.
        on_epoch: Called after every epoch as the adapter's `train` would; None for a fit without.

    Returns:
        `epoch_begins`, the clock whenever an epoch began, taken by the batches themselves, so that
        a bare fit has no callback but theirs; and `own_seconds` of every epoch: between two stamps
        around the planned batches' callback and `on_epoch`'s, less `on_epoch` itself; without
        `on_epoch` the stamps have nothing between them. Empty unless bracketed.
    """
    batches = _ClockedBatches(*data, orders, batch_size)
    away = _Away(on_epoch)
    ours = [] if on_epoch is None else [reporting(away)]
    if not bracketed:
        fit(handle, batches, callbacks=ours)
        return {"epoch_begins": batches.begins, "own_seconds": []}
    bracket = _Bracket()
    # The batches' callback is one of ours; an empty bracket shows what the stamps themselves cost.
    inside = [batches.callback, *ours] if ours else []
    callbacks = [*([] if ours else [batches.callback]), bracket.before, *inside, bracket.after]
    handle.fit(batches, epochs=len(orders), shuffle=False, callbacks=callbacks, verbose=0)
    own = np.subtract(bracket.seconds, away.seconds) if ours else bracket.seconds
    return {"epoch_begins": batches.begins, "own_seconds": list(map(float, own))}


class _ClockedBatches(PlannedBatches):
    """Notes when an epoch begins."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.begins: list[float] = []

    def _begin(self, epoch: int, logs: dict | None = None) -> None:
        self.begins.append(clock())
        super()._begin(epoch, logs)


class _Away:
    """Calls `on_epoch` and notes how long it took."""

    def __init__(self, on_epoch: Callable[[float, float], None] | None) -> None:
        self._on_epoch, self.seconds = on_epoch, []

    def __call__(self, loss: float, accuracy: float) -> None:
        entered = clock()
        self._on_epoch(loss, accuracy)
        self.seconds.append(clock() - entered)


class _Bracket:
    """Two callbacks, and the seconds per epoch between them at its beginning and at its end."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._stamp = 0.0
        callback = keras.callbacks.LambdaCallback
        self.before = callback(on_epoch_begin=self._open, on_epoch_end=self._open)
        self.after = callback(on_epoch_begin=self._began, on_epoch_end=self._ended)

    def _open(self, epoch: int, logs: dict | None = None) -> None:
        self._stamp = clock()

    def _began(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds.append(clock() - self._stamp)

    def _ended(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds[-1] += clock() - self._stamp
