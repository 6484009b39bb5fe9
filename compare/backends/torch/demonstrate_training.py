"""Conventions of optimizers, losses and metrics, each on a computation of a few lines.

Each function has a twin of the same name in `keras.demonstrate_training`, from the same numbers,
and takes `remedied`: whether the remedy is in place.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_accuracy

from compare.backends.torch.demonstrate_layers import Arrays, filled, normal
from compare.backends.torch.weights import read_weights

STEPS = 30
RATE, LOWER_RATE, DECAY, LARGEST_NORM = 0.05, 0.005, 0.125, 0.5


def samples() -> tuple[Tensor, Tensor]:
    """Inputs (20, 3), the last of them tiny, as from a unit that hardly fires; targets (20, 1)."""
    return normal(20, 3) * torch.tensor([1.0, 1.0, 1e-6], dtype=torch.float64), normal(20, 1)


def dense() -> nn.Sequential:
    """Three inputs, one output."""
    model = nn.Sequential()
    model.add_module("output", nn.Linear(3, 1, dtype=torch.float64))
    return filled(model)


def trained(
    model: nn.Sequential,
    optimizer: torch.optim.Optimizer,
    before: Callable[[int], None] = lambda step: None,
) -> Arrays:
    """The weights after 30 steps on the mean squared error; `before` runs before each."""
    x, y = samples()
    for step in range(STEPS):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        before(step)
        optimizer.step()
    return read_weights(model)


def sgd(model: nn.Module, **options: Any) -> torch.optim.SGD:
    """SGD with momentum 0.9."""
    return torch.optim.SGD(model.parameters(), **{"lr": RATE, "momentum": 0.9, **options})


def adam(model: nn.Module) -> tuple[torch.optim.Adam, Callable[[int], None]]:
    """Adam, and what gives it Keras' epsilon before every step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def bridge(step: int) -> None:
        optimizer.param_groups[0]["eps"] = 1e-7 / math.sqrt(1.0 - 0.999 ** (step + 1))

    return optimizer, bridge


def adam_epsilon(remedied: bool) -> Arrays:
    """Adam's epsilon: on Torch's side the remedy is to set it before every step."""
    model = dense()
    optimizer, bridge = adam(model)
    return trained(model, optimizer, bridge) if remedied else trained(model, optimizer)


def adam_beta_float32(remedied: bool) -> Arrays:
    """Adam's betas: the remedy is on Keras' side."""
    model = dense()
    return trained(model, *adam(model))


def rmsprop_epsilon(remedied: bool) -> Arrays:
    """RMSprop as Keras computes it, or Torch's."""
    model = dense()
    if not remedied:
        return trained(model, torch.optim.RMSprop(model.parameters(), lr=RATE))
    return trained(model, sgd(model, lr=RATE, momentum=0.0), keras_rmsprop(model))


def keras_rmsprop(model: nn.Module) -> Callable[[int], None]:
    """What makes each step of plain SGD one of Keras' RMSprop."""
    squares = {p: torch.zeros_like(p) for p in model.parameters()}

    def rescale(step: int) -> None:
        for p, square in squares.items():
            square.mul_(0.9).add_((1.0 - 0.9) * p.grad**2)
            p.grad /= torch.sqrt(square + 1e-7)

    return rescale


def optimizer_defaults(remedied: bool) -> Arrays:
    """RMSprop as Keras computes it, with its default learning rate or with Torch's."""
    model = dense()
    rate = 0.001 if remedied else 0.01
    return trained(model, sgd(model, lr=rate, momentum=0.0), keras_rmsprop(model))


def weight_decay(remedied: bool) -> Arrays:
    """Weights that shrink beside the gradient step, or through the gradient and its momentum."""
    model = dense()
    if not remedied:
        return trained(model, sgd(model, weight_decay=DECAY))

    def shrink(step: int) -> None:
        with torch.no_grad():
            for p in model.parameters():
                p -= p * DECAY * RATE

    return trained(model, sgd(model), shrink)


def sgd_learning_rate_change(remedied: bool) -> Arrays:
    """A learning rate that drops half way, with momentum."""
    model = dense()
    optimizer = sgd(model)

    def lower(step: int) -> None:
        if step == STEPS // 2:
            optimizer.param_groups[0]["lr"] = LOWER_RATE
            for state in optimizer.state.values() if remedied else ():
                state["momentum_buffer"] *= RATE / LOWER_RATE

    return trained(model, optimizer, lower)


def learning_rate_schedule(remedied: bool) -> Arrays:
    """An exponential schedule that advances with every step, or with every epoch of ten steps."""
    model = dense()
    optimizer = sgd(model, momentum=0.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    interval = 1 if remedied else 10

    def advance(step: int) -> None:
        if step and step % interval == 0:
            scheduler.step()

    return trained(model, optimizer, advance)


def gradient_clipping(remedied: bool) -> Arrays:
    """The norm of each weight's gradient bounded, or the norm of them all."""
    model = dense()

    def clip(step: int) -> None:
        if not remedied:
            nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
            return
        for p in model.parameters():
            p.grad *= LARGEST_NORM / torch.clamp(p.grad.norm(), min=LARGEST_NORM)

    return trained(model, sgd(model), clip)


def regularizers_in_loss(remedied: bool) -> Arrays:
    """The reported loss, with or without the penalty on the kernel."""
    model = dense()
    x, y = samples()
    loss = F.mse_loss(model(x), y)
    if remedied:
        loss = loss + DECAY * model.output.weight.square().sum()
    return {"loss": loss.detach().numpy()}


def broadcast_loss(remedied: bool) -> Arrays:
    """Predictions (20, 1) against targets (20,)."""
    prediction, target = normal(20, 1), normal(20, 3)[:, 0]
    with warnings.catch_warnings():
        # The warning is all that tells a porter, and here it is meant.
        warnings.filterwarnings("ignore", message="Using a target size")
        loss = F.mse_loss(prediction, target.unsqueeze(1) if remedied else target)
    return {"loss": loss.numpy()}


def loss_from_logits(remedied: bool) -> Arrays:
    """Loss and gradient where the sigmoid has saturated."""
    logits = torch.tensor([-50.0, -2.0, 2.0, 50.0], dtype=torch.float64, requires_grad=True)
    labels = torch.zeros_like(logits)
    if remedied:
        loss = F.binary_cross_entropy_with_logits(logits, labels)
    else:
        loss = F.binary_cross_entropy(logits.sigmoid(), labels)
    loss.backward()
    return {"loss": loss.detach().numpy(), "gradient": logits.grad.numpy()}


def cross_entropy_logits(remedied: bool) -> Arrays:
    """The cross-entropy of logits, or of what is a softmax already."""
    logits = normal(20, 3)
    given = logits if remedied else logits.softmax(dim=1)
    return {"loss": F.cross_entropy(given, torch.arange(20) % 3).numpy()}


def accuracy_threshold(remedied: bool) -> Arrays:
    """Accuracy where probabilities are exactly 0.5, as those of a network that starts at zero."""
    probability = torch.tensor([0.0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 1.0], dtype=torch.float64)
    label = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    if remedied:
        return {"accuracy": np.float64(binary_accuracy(probability, label))}
    return {"accuracy": np.float64(((probability >= 0.5) == label).double().mean())}
