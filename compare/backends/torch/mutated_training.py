"""Port bugs of the loss, of gradients, of the optimizer and of what happens between epochs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import BinaryAccuracy

from bn_torch.module import BinaryClassifier
from compare.backends.torch.bugs import BUGS, bug, override

Loss = Callable[[BinaryClassifier, Tensor, Tensor, float], Tensor]


# The loss.


def _loss(name: str, loss: Loss) -> None:
    """Register a bug that trains on another loss: of the module, logits, labels and the size."""

    def change(handle: BinaryClassifier, size: float) -> None:
        def training_step(self: Any, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            x, y = batch
            logits = self(x)
            found = loss(self, logits, y, size)
            self.train_accuracy(logits.sigmoid(), y)
            self.log("train_loss", found, on_step=False, on_epoch=True)
            self.log("train_accuracy", self.train_accuracy, on_step=False, on_epoch=True)
            return found

        override(handle, training_step=training_step)

    BUGS[name] = change


def _entropy(logits: Tensor, y: Tensor, **options: Any) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, y, **options)


def _penalty(module: BinaryClassifier) -> Tensor:
    return sum((p**2).sum() for p in module.parameters())  # type: ignore[return-value]


_loss("loss-summed", lambda module, logits, y, size: _entropy(logits, y, reduction="sum"))
_loss("loss-on-probabilities", lambda module, logits, y, size: _entropy(logits.sigmoid(), y))
_loss("loss-smoothed", lambda module, logits, y, size: _entropy(logits, y + size * (0.5 - y)))
_loss(
    "loss-penalized", lambda module, logits, y, size: _entropy(logits, y) + size * _penalty(module)
)
_loss(
    "loss-weighted",
    lambda module, logits, y, size: _entropy(logits, y, pos_weight=logits.new_tensor(1.0 + size)),
)
_loss("loss-hinge", lambda module, logits, y, size: F.relu(1 - (2 * y - 1) * logits).mean())


# Gradients.


@bug
def _gradient_scaled(handle: BinaryClassifier, size: float) -> None:
    handle.model.hidden.weight.register_hook(lambda gradient: gradient * (1.0 + size))


class _LeakyBackward(torch.nn.Module):
    """A rectifier whose gradient is that of a leaky one."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        leaky = F.leaky_relu(x, self.slope)
        return leaky + (F.relu(x) - leaky).detach()


@bug
def _relu_gradient_leaky(handle: BinaryClassifier, size: float) -> None:
    handle.model.relu = _LeakyBackward(size)


@bug
def _gradients_not_zeroed(handle: BinaryClassifier, size: float) -> None:
    override(handle, optimizer_zero_grad=lambda self, epoch, batch_idx, optimizer: None)


# The optimizer.


def _sgd(name: str, options: Callable[[float], dict[str, Any]]) -> None:
    """Register a bug that changes options of SGD."""

    def change(handle: BinaryClassifier, size: float) -> None:
        def configure(self: Any) -> torch.optim.Optimizer:
            found = {"lr": self.hparams["learning_rate"], "momentum": self.hparams["momentum"]}
            trained = [p for p in self.parameters() if p.requires_grad]
            return torch.optim.SGD(trained, **{**found, **options(size)})

        override(handle, configure_optimizers=configure)

    BUGS[name] = change


_sgd("learning-rate-off", lambda size: {"lr": 0.01 * (1.0 + size)})
_sgd("learning-rate-float32", lambda size: {"lr": float(np.float32(0.01))})
_sgd("sgd-momentum-off", lambda size: {"momentum": 0.9 * (1.0 + size)})
_sgd("sgd-momentum-float32", lambda size: {"momentum": float(np.float32(0.9))})
_sgd("sgd-momentum-forgotten", lambda size: {"momentum": 0.0})
_sgd("sgd-nesterov", lambda size: {"nesterov": True})
_sgd("sgd-dampened", lambda size: {"dampening": size})
_sgd("weight-decay", lambda size: {"weight_decay": size})


@bug
def _adam(handle: BinaryClassifier, size: float) -> None:
    override(
        handle, configure_optimizers=lambda self: torch.optim.Adam(self.model.parameters(), lr=0.01)
    )


@bug
def _output_not_optimized(handle: BinaryClassifier, size: float) -> None:
    def configure(self: Any) -> torch.optim.Optimizer:
        trained = [p for name, p in self.named_parameters() if "output" not in name]
        return torch.optim.SGD(trained, lr=0.01, momentum=0.9)

    override(handle, configure_optimizers=configure)


@bug
def _bias_learns_faster(handle: BinaryClassifier, size: float) -> None:
    def configure(self: Any) -> torch.optim.Optimizer:
        faster = self.model.hidden.bias
        others = [p for p in self.parameters() if p is not faster]
        groups = [{"params": others}, {"params": [faster], "lr": 0.01 * (1.0 + size)}]
        return torch.optim.SGD(groups, lr=0.01, momentum=0.9)

    override(handle, configure_optimizers=configure)


@bug
def _two_steps_per_batch(handle: BinaryClassifier, size: float) -> None:
    def optimizer_step(self: Any, epoch: int, batch_idx: int, optimizer: Any, closure: Any) -> None:
        optimizer.step(closure=closure)
        optimizer.step()

    override(handle, optimizer_step=optimizer_step)


def _clipping(name: str) -> None:
    def change(handle: BinaryClassifier, size: float) -> None:
        def clip(self: Any, optimizer: Any) -> None:
            torch.nn.utils.clip_grad_norm_(self.parameters(), size)

        override(handle, on_before_optimizer_step=clip)

    BUGS[name] = change


_clipping("gradients-clipped")
_clipping("gradients-rarely-clipped")


# Between epochs.


def _epochs(name: str, start: Callable[[Any, int], None]) -> None:
    """Register a bug that does something at the start of every epoch, counted from 1."""

    def change(handle: BinaryClassifier, size: float) -> None:
        override(handle, on_train_epoch_start=lambda self: start(self, self.current_epoch + 1))

    BUGS[name] = change


def _lower_rate(module: Any, epoch: int) -> None:
    if epoch == 3:
        for group in module.optimizers().param_groups:
            group["lr"] *= 0.1


def _change_momentum(module: Any, epoch: int) -> None:
    module.model.batch_norm.momentum = 0.01 if epoch == 1 else 0.02


def _forget_velocity(module: Any, epoch: int) -> None:
    module.optimizers().state.clear()


def _stay_in_eval(module: Any, epoch: int) -> None:
    if epoch == 2:
        module.eval()


def _freeze_norm(module: Any, epoch: int) -> None:
    if epoch == 2:
        module.model.batch_norm.eval()


def _forward_in_training_mode(module: Any, epoch: int) -> None:
    if epoch == 2:
        with torch.no_grad():
            module(torch.linspace(-1.0, 1.0, 64).reshape(32, 2))


def _stop_early(module: Any, epoch: int) -> None:
    module.trainer.should_stop = epoch == 2


_epochs("stops-early", _stop_early)
_epochs("learning-rate-drops", _lower_rate)
_epochs("bn-momentum-changes", _change_momentum)
_epochs("optimizer-state-lost", _forget_velocity)
_epochs("left-in-evaluation-mode", _stay_in_eval)
_epochs("bn-freezes", _freeze_norm)
_epochs("validated-in-training-mode", _forward_in_training_mode)


# What is reported.


@bug
def _running_loss_unweighted(handle: BinaryClassifier, size: float) -> None:
    def log(self: Any, name: str, value: Any, **options: Any) -> None:
        BinaryClassifier.log(self, name, value, **options, batch_size=1)

    override(handle, log=log)


@bug
def _running_loss_summed(handle: BinaryClassifier, size: float) -> None:
    def log(self: Any, name: str, value: Any, **options: Any) -> None:
        BinaryClassifier.log(self, name, value, **{**options, "reduce_fx": "sum"})

    override(handle, log=log)


@bug
def _accuracy_of_logits(handle: BinaryClassifier, size: float) -> None:
    # A logit counts from 0.5 on, as a probability would.
    handle.train_accuracy = BinaryAccuracy(threshold=1.0 / (1.0 + math.exp(-0.5)))


@bug
def _logits_clamped(handle: BinaryClassifier, size: float) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits if self.training else logits.clamp(-size, size)

    override(handle, forward=forward)
