"""What a module has that no trace sees: what waits for a metric, validates, or is a Trainer's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torchmetrics
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from compare.backends.protocol import Objective
from compare.backends.torch.settings import configured, overrides

_STEPS = ("validation_step", "test_step", "predict_step")
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_AFTER = ("on_validation", "on_test", "on_predict", "on_save", "on_load", "on_fit_end")
"""How the hooks begin that run beside training."""

_TRAINER: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "gradient_clip_val": (lambda trainer: trainer.gradient_clip_val, None),
    "accumulate_grad_batches": (lambda trainer: trainer.accumulate_grad_batches, 1),
    "precision": (lambda trainer: trainer.precision, "32-true"),
    "strategy": (lambda trainer: type(trainer.strategy).__name__, "SingleDeviceStrategy"),
}
"""Argument of a Trainer → what reads it, and what says nothing."""


def not_compared(module: nn.Module, objective: Objective | None = None) -> list[str]:
    """See `TorchFramework.not_compared`."""
    words = [*_plateaus(module, objective), *_metrics(module)]
    if isinstance(module, L.LightningModule):
        words += [*_overridden(module), *_callbacks(module), *_trainer(module._trainer)]
    return words


def _plateaus(module: nn.Module, objective: Objective | None) -> Iterator[str]:
    schedules = [s for _, s in configured(module, objective) if isinstance(s, ReduceLROnPlateau)]
    if schedules:
        yield "Torch's schedule ReduceLROnPlateau, which waits for a metric (in Keras a callback)"


def _metrics(module: nn.Module) -> Iterator[str]:
    names = [p for p, part in module.named_modules() if isinstance(part, torchmetrics.Metric)]
    if names:
        yield f"Torch's metrics ({', '.join(names)})"


def _overridden(module: L.LightningModule) -> Iterator[str]:
    names = [*_STEPS, *_LOADERS, *(n for n in dir(L.LightningModule) if n.startswith(_AFTER))]
    names = [n for n in names if overrides(module, n)]
    if names:
        yield f"Torch's {', '.join(names)}"


def _callbacks(module: L.LightningModule) -> Iterator[str]:
    if not overrides(module, "configure_callbacks"):
        return
    try:
        callbacks: Any = module.configure_callbacks()
    # One that asks its Trainer, say.
    except Exception:
        callbacks = ()
    names = [type(c).__name__ for c in (callbacks if isinstance(callbacks, list) else [callbacks])]
    yield f"Torch's callbacks ({', '.join(names)})" if names else "Torch's configure_callbacks"


def _trainer(trainer: Any) -> Iterator[str]:
    if trainer is None:
        return
    values = {name: read(trainer) for name, (read, _) in _TRAINER.items()}
    texts = [f"{name}={v!r}" for name, v in values.items() if v != _TRAINER[name][1]]
    own = [c for c in trainer.callbacks if not type(c).__module__.startswith("lightning.")]
    texts += [f"callbacks {', '.join(type(c).__name__ for c in own)}"] if own else []
    if texts:
        yield f"the Trainer's {', '.join(texts)}"
