"""The LightningModule: a network passed in, binary cross-entropy, SGD with momentum."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import BinaryAccuracy


class BinaryClassifier(L.LightningModule):
    """Trains any network that returns one logit per sample.

    Args:
        model: Maps a batch of samples to logits, (N, 1).
        learning_rate: Step size of SGD, > 0.
        momentum: Share of the last update that carries on, in [0, 1].
    """

    def __init__(
        self, model: nn.Module, learning_rate: float = 0.01, momentum: float = 0.9
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["model"])
        self.model = model
        self.train_accuracy = BinaryAccuracy()
        self.val_accuracy = BinaryAccuracy()
        self.test_accuracy = BinaryAccuracy()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def _common_step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        x, y = batch
        logits = self(x)
        loss = F.binary_cross_entropy_with_logits(logits, y)
        accuracy = getattr(self, f"{stage}_accuracy")
        # Without the sigmoid, torchmetrics takes logits within [0, 1] for probabilities.
        accuracy(logits.sigmoid(), y)
        self.log(f"{stage}_loss", loss, on_step=False, on_epoch=True)
        self.log(f"{stage}_accuracy", accuracy, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._common_step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._common_step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._common_step(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Probability of the inner circle, (N, 1); labels within the batch are left aside."""
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        return self(x).sigmoid()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.SGD(
            trained, lr=self.hparams["learning_rate"], momentum=self.hparams["momentum"]
        )
