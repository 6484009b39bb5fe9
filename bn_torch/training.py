"""Fitting with Lightning's Trainer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L

from bn_torch.data import CirclesDataModule


class Reporting(L.Callback):
    """Hands on the running training loss and accuracy of every epoch.

    Args:
        on_epoch: Called with them at the end of every epoch.
    """

    def __init__(self, on_epoch: Callable[[float, float], None]) -> None:
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        metrics = trainer.callback_metrics
        self.on_epoch(metrics["train_loss"].item(), metrics["train_accuracy"].item())


def fit(
    model: L.LightningModule,
    data: CirclesDataModule,
    *,
    epochs: int = 100,
    callbacks: Sequence[L.Callback] = (),
    **trainer_options: Any,
) -> L.Trainer:
    """Train for a number of epochs.

    Args:
        model: Any LightningModule.
        data: Loaders; with planned orders there must be one for every epoch.
        epochs: Passes over the training samples.
        callbacks: Lightning callbacks.
        **trainer_options: Passed to `lightning.Trainer`; by default it runs on the CPU and writes
            neither logs nor checkpoints nor a progress bar.

    Returns:
        The trainer; `callback_metrics` holds `train_loss` and `train_accuracy` of the last epoch,
        means over the batches in training mode, each batch seen before its own update.
    """
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0 if data.test is None else 1.0,
    }
    trainer = L.Trainer(
        max_epochs=epochs, callbacks=list(callbacks), **{**quiet, **trainer_options}
    )
    # Since Lightning 2.2, fit no longer does this: a model left in eval() would train in it.
    model.train()
    with warnings.catch_warnings():
        # Loading a tensor in memory is not slow: worker processes would only make it so.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Lightning 2.6 reads Torch's trees in a way that Torch 2.13 deprecates.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
        trainer.fit(model, datamodule=data)
    return trainer
