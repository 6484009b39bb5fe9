"""Small computations for the conventions of optimizers, as in `demos`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from compare.backends.torch.demos import (
    DECAY,
    LARGEST_NORM,
    RATE,
    STEPS,
    Before,
    Demonstration,
    clip_together,
    dense,
    keras_epsilon,
    samples,
    sgd,
    shrink,
    trained_dense,
)
from compare.backends.torch.weights import read_weights

LARGE_RATE, SHARE = 10.0, 0.3

Direction = Callable[[Tensor, dict[str, Tensor], int], Tensor]
"""From a gradient, what is kept of it and the number of the step to what plain SGD is to follow."""


def _following(direction: Direction) -> Before:
    """What makes each step of plain SGD one of another optimizer."""
    kept: dict[Tensor, dict[str, Tensor]] = {}

    def turn(optimizer: torch.optim.Optimizer, step: int) -> None:
        for p in optimizer.param_groups[0]["params"]:
            p.grad = direction(p.grad, kept.setdefault(p, {}), step + 1)

    return turn


def _average(kept: dict[str, Tensor], name: str, value: Tensor, share: float) -> Tensor:
    kept[name] = share * kept.get(name, torch.zeros_like(value)) + (1.0 - share) * value
    return kept[name]


def _adamax(gradient: Tensor, kept: dict[str, Tensor], step: int) -> Tensor:
    """Keras' Adamax: epsilon is added where the norm divides."""
    first = _average(kept, "first", gradient, 0.9)
    norm = 0.999 * kept.get("norm", torch.zeros_like(gradient))
    kept["norm"] = torch.maximum(norm, gradient.abs())
    return first / ((1.0 - 0.9**step) * (kept["norm"] + 1e-7))


def _adagrad(gradient: Tensor, kept: dict[str, Tensor], step: int) -> Tensor:
    """Keras' Adagrad: epsilon is added inside the root."""
    kept["total"] = kept.get("total", torch.zeros_like(gradient)) + gradient**2
    return gradient / torch.sqrt(kept["total"] + 1e-7)


def _nadam(gradient: Tensor, kept: dict[str, Tensor], step: int) -> Tensor:
    """Keras' Nadam: 0.96 to the power of the step, rounded to float32 but in the product."""
    rounded = float(np.float32(0.96))
    now, following = (0.9 * (1.0 - 0.5 * rounded**t) for t in (step, step + 1))
    product = float(np.prod([0.9 * (1.0 - 0.5 * 0.96**t) for t in range(1, step + 1)]))
    first = _average(kept, "first", gradient, 0.9)
    second = _average(kept, "second", gradient**2, 0.999)
    ahead = following * first / (1.0 - product * following)
    direction = ahead + (1.0 - now) * gradient / (1.0 - product)
    return direction / (torch.sqrt(second / (1.0 - 0.999**step)) + 1e-7)


def _as_keras(direction: Direction, stock: Any, **options: Any) -> Demonstration:
    def demonstration(remedied: bool) -> dict[str, Any]:
        if remedied:
            return trained_dense(sgd(momentum=0.0), _following(direction))
        return trained_dense(partial(stock, lr=RATE, **options))

    return demonstration


@torch.no_grad()
def _shrink_kernel(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Decay what is no bias."""
    for p in optimizer.param_groups[0]["params"]:
        if p.ndim > 1:
            p.sub_(p * DECAY * RATE)


def _clip_exactly(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Bound the norm of all gradients, without anything added to it."""
    own = optimizer.param_groups[0]["params"]
    norm = torch.sqrt(sum((p.grad**2).sum() for p in own))
    for p in own:
        p.grad *= min(1.0, LARGEST_NORM / float(norm))


def _decayed(remedied: bool) -> dict[str, Any]:
    """Large weights after a step of weight decay alone."""
    weights = torch.tensor([1e3, 2e3, 3e3], dtype=torch.float64, requires_grad=True)
    weights.grad = torch.zeros_like(weights)
    torch.optim.AdamW([weights], lr=1.0, weight_decay=SHARE).step()
    return {"weights": weights}


def _schedule(remedied: bool) -> dict[str, Any]:
    """The learning rates of a schedule."""
    optimizer = sgd(lr=LARGE_RATE)(dense().parameters())
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    rates = []
    for _ in range(STEPS):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    return {"rates": np.array(rates, dtype=np.float64)}


def _accumulated(remedied: bool) -> dict[str, Any]:
    """Two gradients for every step: their mean, or their sum."""
    model, (x, y) = dense(), samples()
    optimizer = sgd()(model.parameters())
    for _ in range(STEPS // 2):
        optimizer.zero_grad()
        for _ in range(2):
            (F.mse_loss(model(x), y) / (2.0 if remedied else 1.0)).backward()
        optimizer.step()
    return {**read_weights(model)}


DEMONSTRATIONS: dict[str, Demonstration] = {
    "optimizer-kind": lambda remedied: (
        trained_dense(partial(torch.optim.Adam, lr=RATE), keras_epsilon)
        if remedied
        else trained_dense(sgd())
    ),
    "adamax-epsilon": _as_keras(_adamax, torch.optim.Adamax),
    "adagrad-epsilon": _as_keras(_adagrad, torch.optim.Adagrad),
    "nadam-momentum-decay": _as_keras(_nadam, torch.optim.NAdam, eps=1e-7),
    # The remedy is on Keras' side.
    "optimizer-float32": _decayed,
    "schedule-float32": _schedule,
    "sgd-dampening": lambda remedied: trained_dense(sgd(dampening=0.0 if remedied else 0.1)),
    "weight-decay-excluded": lambda remedied: trained_dense(
        sgd(), _shrink_kernel if remedied else shrink
    ),
    "clip-norm-epsilon": lambda remedied: trained_dense(
        sgd(), _clip_exactly if remedied else clip_together
    ),
    "gradient-accumulation": _accumulated,
}
"""Name of the convention → its demonstration."""
