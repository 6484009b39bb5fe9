"""An epoch without Lightning's training loop: a bare loop, the floor under `Trainer.fit`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bn_torch.module import BinaryClassifier


def train(
    module: BinaryClassifier,
    data: tuple[np.ndarray, np.ndarray],
    *,
    orders: np.ndarray,
    batch_size: int,
    on_epoch: Callable[[float, float], None],
) -> None:
    """Train as `Trainer.fit` does, in a loop over slices of tensors.

    The same loss, updates, running statistics and running metrics; no Trainer, no DataLoader, no
    hooks and no logging between two steps.

    Args:
        module: Any `BinaryClassifier`; it trains where its parameters are.
        data: Samples in Torch's layout, (n, …), and labels, (n,), in the module's dtype.
        orders: The order of the samples in every epoch, (epochs, n).
        batch_size: Samples per batch; a short last batch is kept.
        on_epoch: Called after every epoch with the running training loss and accuracy.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    device = parameters[0].device
    rates = module.hparams["learning_rate"], module.hparams["momentum"]
    optimizer = torch.optim.SGD(parameters, lr=rates[0], momentum=rates[1], foreach=True)
    x, y = (torch.from_numpy(array).to(device) for array in data)
    module.train()
    for order in orders:
        chosen = torch.from_numpy(order).to(device)
        batches = zip(
            x[chosen].split(batch_size), y[chosen].unsqueeze(1).split(batch_size), strict=True
        )
        sums = torch.zeros(2, device=device)
        for batch in batches:
            sums += _step(module.model, optimizer, *batch)
        loss, accuracy = (sums / len(y)).tolist()
        on_epoch(loss, accuracy)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    """One step; the summed loss and the hits of its batch, (2,)."""
    optimizer.zero_grad()
    logits = model(x)
    loss = F.binary_cross_entropy_with_logits(logits, y)
    loss.backward()
    optimizer.step()
    hits = ((logits.detach() > 0) == (y > 0.5)).sum()
    return torch.stack([loss.detach() * len(y), hits.to(loss.dtype)])
