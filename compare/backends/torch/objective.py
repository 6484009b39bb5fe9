"""A plain module with the loss and the optimizer that would train it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
from torch import Tensor, nn

from compare.backends.torch.structures import call


class Objective(L.LightningModule):
    """Trains a plain module.

    Args:
        model: Any module.
        loss: `loss(output, target)` → a scalar.
        optimizer: `optimizer(parameters)` → a Torch optimizer, or anything else that
            `configure_optimizers` may return.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        optimizer: Callable[[Iterator[nn.Parameter]], Any],
    ) -> None:
        super().__init__()
        self.model, self.loss, self.optimizer = model, loss, optimizer

    def forward(self, x: Any) -> Any:
        return call(self.model, x)

    def training_step(self, batch: tuple[Any, Any], batch_idx: int) -> Tensor:
        x, y = batch
        return self.loss(self(x), y)

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.model.parameters())
