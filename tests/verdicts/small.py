"""Small modules that the ports of several kinds are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import lightning as L
import numpy as np
import torch
from keras import layers
from torch import nn, optim
from torch.nn import functional as F

from verdicts.port import Original


def perceptron(
    name: str, optimizer: Callable[[], Any], loss: Any = "mse", **output: Any
) -> Original:
    """A dense network of 6, 8 and 2 numbers as Keras has it.

    Args:
        name: What is special about it.
        optimizer: Makes its optimizer.
        loss: What it is compiled with.
        output: Options of its last layer.
    """

    def build() -> keras.Model:
        model = keras.Sequential(
            [
                keras.Input((6,)),
                layers.Dense(8, activation="tanh", name="hidden"),
                layers.Dense(2, name="head", **output),
            ]
        )
        model.compile(optimizer(), loss)
        return model

    return Original(name, build, numbers)


def numbers(rng: np.random.Generator) -> tuple[Any, Any]:
    """16 samples of 6 numbers, and two to predict."""
    return 3.0 * rng.normal(size=(16, 6)), 5.0 * rng.normal(size=(16, 2))


class Perceptron(nn.Module):
    """Its port."""

    def __init__(self, end: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.hidden, self.head, self.end = nn.Linear(6, 8), nn.Linear(8, 2), end

    def forward(self, x: torch.Tensor) -> Any:
        x = self.head(self.hidden(x).tanh())
        return x if self.end is None else self.end(x)


class Lit(L.LightningModule):
    """A network with its loss, its optimizer and what else a LightningModule has.

    Args:
        network: What is trained.
        loss: `loss(output, target)`.
        optimizer: Makes the optimizer of parameters.
        schedule: Makes the scheduler of the optimizer.
        interval: `"step"` or `"epoch"`.
        clip: Changes the gradients of parameters in place, before the step.
        penalty: Of the network, added to the loss.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: Callable[[Any, Any], Any] = F.mse_loss,
        optimizer: Callable[[Any], Any] = lambda p: optim.SGD(p, lr=0.1),
        schedule: Callable[[Any], Any] | None = None,
        interval: str = "step",
        clip: Callable[[Sequence[nn.Parameter]], object] | None = None,
        penalty: Callable[[nn.Module], Any] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.loss, self.optimizer = network, loss, optimizer
        self.schedule, self.interval, self.clip, self.penalty = schedule, interval, clip, penalty

    def forward(self, x: Any) -> Any:
        return self.network(x)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        loss = self.loss(self(x), y)
        return loss if self.penalty is None else loss + self.penalty(self.network)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        if self.schedule is None:
            return optimizer
        scheduler = {"scheduler": self.schedule(optimizer), "interval": self.interval}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.clip is not None:
            self.clip([p for p in self.parameters() if p.grad is not None])
