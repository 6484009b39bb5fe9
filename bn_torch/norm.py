"""Batch normalization that tracks the biased variance, as Keras does."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BiasedBatchNorm(nn.Module):
    r"""Batch normalization whose running variance is the biased one.

    .. math:: y = \frac{x - \mathrm{E}[x]}{\sqrt{\mathrm{Var}[x] + \epsilon}} \gamma + \beta

    Computes what `torch.nn.BatchNorm1d` and `BatchNorm2d` compute but for two things: the running
    variance follows the biased batch variance (divided by n, where Torch divides by n − 1), and a
    batch with a single value per channel is normalized to zero where Torch raises. It has neither
    `num_batches_tracked` nor `momentum=None`; load checkpoints of Torch's layers with
    `strict=False`.

    In training mode, mean and variance are those of the batch, per channel, and the running
    statistics move by `running = (1 - momentum) * running + momentum * batch`. In evaluation mode
    the running statistics are used.

    A plain module and no subclass of `_BatchNorm` on purpose: Lightning's `sync_batchnorm` would
    replace a subclass by Torch's own layer without a word.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance. Torch's default; Keras' is 1e-3.
        momentum: Share of the new batch in the running statistics, in [0, 1]. Torch's default;
            Keras' default `momentum=0.99` is `1.0 - 0.99` here.
        affine: Whether there is a learned scale (`weight`, γ) and shift (`bias`, β).

    Shape:
        - Input: (N, C) or (N, C, \*)
        - Output: the same.

    Reference:
        Ioffe & Szegedy, 2015, https://arxiv.org/abs/1502.03167
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        self._track(x.detach())
        if x.numel() > x.shape[1]:
            return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        # One value per channel equals its own mean. Torch refuses to divide by its zero deviation.
        scale, shift = self.weight, self.bias
        channels = [1, -1] + [1] * (x.ndim - 2)
        y = 0.0 * x if scale is None else 0.0 * x * scale.view(channels)
        return y if shift is None else y + shift.view(channels)

    def _track(self, x: Tensor) -> None:
        variance, mean = torch.var_mean(x, [0, *range(2, x.ndim)], correction=0)
        # Keras' order of operations: with momentum = 1.0 - m, both shares are Keras' to the bit.
        kept = 1.0 - self.momentum
        self.running_mean.mul_(kept).add_(mean * (1.0 - kept))
        self.running_var.mul_(kept).add_(variance * (1.0 - kept))

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.weight is not None}"
        )
