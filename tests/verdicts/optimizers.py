"""Keras' optimizers and Torch's with the same settings, as people write both.

No setting of a stock Torch optimizer makes it Keras' to the last bit: Keras adds epsilon elsewhere
(Adam before the correction; RMSprop and Adagrad inside the root; Adamax outside the maximum), and
rounds momentum, betas, rho and decay to float32. Each of those is far below what a setting does.
Nadam's momentum decays by 0.96 a step, in Torch by 0.96 a thousand/4 steps unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import keras
import lightning as L
import torch
from torch import nn, optim

from verdicts.port import Original

Parameters = Iterable[nn.Parameter]


@dataclass(frozen=True)
class Optimizer:
    """The same optimizer, twice.

    Attributes:
        keras: Makes Keras'.
        torch: Makes Torch's, of parameters.
    """

    keras: Callable[[], keras.optimizers.Optimizer]
    torch: Callable[[Parameters], Any]


K = keras.optimizers


def _excluding() -> K.Optimizer:
    optimizer = K.AdamW(1e-2, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def groups(parameters: Parameters, decay: float = 0.1) -> list[dict[str, Any]]:
    """What decays and what does not, as groups of parameters: no bias, no scale, no shift."""
    listed = list(parameters)
    kernels = [p for p in listed if p.ndim > 1]
    others = [p for p in listed if p.ndim == 1]
    return [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


OPTIMIZERS: Mapping[str, Optimizer] = {
    "SGD": Optimizer(lambda: K.SGD(0.05), lambda p: optim.SGD(p, lr=0.05)),
    "SGD, momentum": Optimizer(
        lambda: K.SGD(0.05, momentum=0.9), lambda p: optim.SGD(p, lr=0.05, momentum=0.9)
    ),
    "SGD, Nesterov": Optimizer(
        lambda: K.SGD(0.05, momentum=0.9, nesterov=True),
        lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    ),
    # Without momentum it is the same before the step and within the gradient.
    "SGD, decay": Optimizer(
        lambda: K.SGD(0.05, weight_decay=0.01),
        lambda p: optim.SGD(p, lr=0.05, weight_decay=0.01),
    ),
    "Adam": Optimizer(lambda: K.Adam(1e-3), lambda p: optim.Adam(p, lr=1e-3, eps=1e-7)),
    "Adam, amsgrad": Optimizer(
        lambda: K.Adam(1e-3, amsgrad=True),
        lambda p: optim.Adam(p, lr=1e-3, eps=1e-7, amsgrad=True),
    ),
    "AdamW": Optimizer(
        lambda: K.AdamW(1e-3, weight_decay=0.01),
        lambda p: optim.AdamW(p, lr=1e-3, eps=1e-7, weight_decay=0.01),
    ),
    "AdamW, kernels alone decay": Optimizer(
        _excluding, lambda p: optim.AdamW(groups(p), lr=1e-2, eps=1e-7)
    ),
    "RMSprop": Optimizer(
        lambda: K.RMSprop(1e-3), lambda p: optim.RMSprop(p, lr=1e-3, alpha=0.9, eps=1e-7)
    ),
    "Adamax": Optimizer(lambda: K.Adamax(1e-3), lambda p: optim.Adamax(p, lr=1e-3, eps=1e-7)),
    "Nadam": Optimizer(
        lambda: K.Nadam(1e-3), lambda p: optim.NAdam(p, lr=1e-3, eps=1e-7, momentum_decay=1.0)
    ),
    "Adagrad": Optimizer(
        lambda: K.Adagrad(1e-2),
        lambda p: optim.Adagrad(p, lr=1e-2, initial_accumulator_value=0.1, eps=1e-7),
    ),
    "Adadelta": Optimizer(
        lambda: K.Adadelta(1e-1), lambda p: optim.Adadelta(p, lr=1e-1, rho=0.95, eps=1e-7)
    ),
}


def trained(parameters: Parameters) -> list[nn.Parameter]:
    """Those that are trained, as an optimizer is given them."""
    return [p for p in parameters if p.requires_grad]


def with_optimizer(
    original: Original, pair: ModuleType, name: str, optimizer: Optimizer
) -> tuple[Original, Callable[[], nn.Module], dict[str, Any]]:
    """A pair of `tests/pairs`, trained by another optimizer on both sides.

    Returns:
        The Keras side, what builds the module, and its objective.
    """

    def build_keras() -> keras.Model:
        model = pair.build_keras()
        model.compile(optimizer.keras(), model.loss)
        return model

    def build_torch() -> nn.Module:
        module = pair.build_torch()
        if isinstance(module, L.LightningModule):
            kind = type(module)

            class Trained(kind):  # type: ignore[misc, valid-type]
                def configure_optimizers(self) -> Any:
                    return optimizer.torch(trained(self.parameters()))

            Trained.__name__ = Trained.__qualname__ = kind.__name__
            module.__class__ = Trained
        return module

    objective = dict(getattr(pair, "OBJECTIVE", {}))
    if objective:
        objective["torch_optimizer"] = lambda p: optimizer.torch(trained(p))
    named = Original(f"{original.name}, {name}", build_keras, original.inputs, original.options)
    return named, build_torch, objective


class Accumulating(optim.SGD):
    """Gradients of two steps, added up, and averaged unless told otherwise."""

    def __init__(self, params: Parameters, lr: float, *, divided_by: float = 2.0) -> None:
        super().__init__(params, lr=lr)
        self.divided_by, self.calls = divided_by, 0
        self.kept: dict[nn.Parameter, torch.Tensor] = {}

    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.calls += 1
        for group in self.param_groups:
            for p in group["params"]:
                self.kept[p] = self.kept.get(p, torch.zeros_like(p)) + p.grad
        if self.calls % 2 == 0:
            for p, total in self.kept.items():
                p.grad = total / self.divided_by
            self.kept = {}
            super().step()
        return loss
