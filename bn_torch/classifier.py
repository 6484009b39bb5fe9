"""The LightningModule for pictures: a network passed in, cross-entropy over classes, SGD."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Classifier(L.LightningModule):
    """Trains any network that returns a logit per class.

    Args:
        model: Maps a batch of samples to logits, (N, classes).
        learning_rate: Step size of SGD, > 0.
        momentum: Share of the last update that carries on, in [0, 1].
    """

    def __init__(
        self, model: nn.Module, learning_rate: float = 0.01, momentum: float = 0.9
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["model"])
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            self.parameters(), lr=self.hparams["learning_rate"], momentum=self.hparams["momentum"]
        )
