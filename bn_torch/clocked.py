"""`Trainer.fit` over planned batches under a clock: bare, or with a callback between two stamps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
from torch.utils.data import DataLoader

from bn_torch import device
from bn_torch.data import CirclesDataModule
from bn_torch.module import BinaryClassifier
from bn_torch.training import Reporting, fit

HOOKS = (
    *("on_train_epoch_start", "on_train_batch_start", "on_before_zero_grad", "on_before_backward"),
    *("on_after_backward", "on_before_optimizer_step", "on_train_batch_end"),
    "on_train_epoch_end",
)
"""What Lightning calls in an epoch on every callback, whether it does something there or not."""

clock = time.perf_counter


def time_planned(
    handle: BinaryClassifier,
    batches: CirclesDataModule,
    *,
    bracketed: bool,
    on_epoch: Callable[[float, float], None] | None = None,
) -> dict[str, list[float]]:
    """Train once, in planned orders.

    Args:
        handle: A fresh module, built by the adapter.
        batches: Samples and the order of every epoch.
        bracketed: Whether to measure what happens on the clock around `on_epoch`.
        on_epoch: Called after every epoch as the adapter's `train` would; None for a fit without.

    Returns:
        `epoch_begins`, the clock whenever an epoch began, taken by the sampler, so that a bare fit
        has no callback at all; and `own_seconds` of every epoch: between two stamps around
        `on_epoch`'s callback, at every hook, less `on_epoch` itself; empty unless bracketed.
    """
    begins = _note_begins(batches)
    away = _Away(on_epoch)
    callbacks: list[L.Callback] = [] if on_epoch is None else [Reporting(away)]
    bracket = _Bracket()
    if bracketed:
        callbacks = [bracket.before, *callbacks, bracket.after]
    fit(
        handle,
        batches,
        epochs=len(batches.orders),
        callbacks=callbacks,
        precision=device.precision(),
    )
    own = np.subtract(bracket.seconds, away.seconds) if away.seconds else bracket.seconds
    return {"epoch_begins": begins, "own_seconds": list(map(float, own)) if bracketed else []}


def _note_begins(batches: CirclesDataModule) -> list[float]:
    """The clock at every epoch's begin, filled while the fit runs."""
    begins: list[float] = []
    make = batches.train_dataloader

    def clocked() -> DataLoader:
        loader = make()
        set_epoch = loader.sampler.set_epoch

        def noted(epoch: int) -> None:
            begins.append(clock())
            set_epoch(epoch)

        loader.sampler.set_epoch = noted
        return loader

    batches.train_dataloader = clocked
    return begins


class _Away:
    """Calls `on_epoch` and notes how long it took."""

    def __init__(self, on_epoch: Callable[[float, float], None] | None) -> None:
        self._on_epoch, self.seconds = on_epoch, []

    def __call__(self, loss: float, accuracy: float) -> None:
        entered = clock()
        self._on_epoch(loss, accuracy)
        self.seconds.append(clock() - entered)


class _Bracket:
    """Two callbacks, and the seconds per epoch between them, at all hooks together."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._stamp = 0.0
        self.before, self.after = L.Callback(), L.Callback()
        for hook in HOOKS:
            setattr(self.before, hook, self._open)
            setattr(self.after, hook, self._close)
        # Lightning computes the metrics of an epoch in any case: whoever reads them first waits.
        self.before.on_train_epoch_end = self._open_after_metrics
        self.after.on_train_epoch_start = self._began

    def _open(self, *args: Any, **kwargs: Any) -> None:
        self._stamp = clock()

    def _open_after_metrics(self, trainer: L.Trainer, *args: Any) -> None:
        _ = trainer.callback_metrics
        self._stamp = clock()

    def _began(self, *args: Any) -> None:
        self.seconds.append(clock() - self._stamp)

    def _close(self, *args: Any, **kwargs: Any) -> None:
        self.seconds[-1] += clock() - self._stamp
