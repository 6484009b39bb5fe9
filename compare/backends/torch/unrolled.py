"""Layers written out in single operations, for `torch.func.vmap` and for tracing.

Under `vmap`, `nn.LSTM` has no batching rule, and a batch norm is rearranged around a kernel that is
slow for it. These compute the same, from the same parameters.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bn_torch.norm import BiasedBatchNorm

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, BiasedBatchNorm)


def unrolled(module: nn.Module) -> nn.Module:
    """A copy of a module in which every LSTM and batch norm is written out, and relu is in place.

    Its parameters and buffers have the same names, but for `num_batches_tracked`, which is gone.
    Since an `nn.ReLU` writes over what it is given, the module must not begin with one.
    """
    module = copy.deepcopy(module)
    for name, child in list(module.named_modules()):
        written = _written_out(child)
        if written is not None:
            module.set_submodule(name, written)
    return module


def _written_out(layer: nn.Module) -> nn.Module | None:
    if isinstance(layer, _NORMS):
        return UnrolledBatchNorm(layer)
    if isinstance(layer, nn.ReLU):
        # The next layer finds it in the cache: a tenth of an evaluation with convolutions.
        return nn.ReLU(inplace=True)
    return UnrolledLSTM(layer) if isinstance(layer, nn.LSTM) else None


class UnrolledBatchNorm(nn.Module):
    """Torch's batch norm, or `BiasedBatchNorm`, in single operations.

    Args:
        norm: The layer to write out; parameters and buffers become this one's.

    Shape:
        - Input: (N, C) or (N, C, H, W)
        - Output: the same.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d | BiasedBatchNorm) -> None:
        super().__init__()
        self.eps, self.momentum = norm.eps, norm.momentum
        self.unbiased = not isinstance(norm, BiasedBatchNorm)
        self.weight, self.bias = norm.weight, norm.bias
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)

    def forward(self, x: Tensor) -> Tensor:
        channels, others = [1, -1] + [1] * (x.ndim - 2), [0, *range(2, x.ndim)]
        if self.training:
            mean = x.mean(others, keepdim=True)
            centered = x - mean
            variance = centered.square().mean(others, keepdim=True)
            self._track(mean.detach().flatten(), variance.detach().flatten(), x[:, 0].numel())
        else:
            centered = x - self.running_mean.view(channels)
            variance = self.running_var.view(channels)
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is None:
            return centered * scale
        return torch.addcmul(self.bias.view(channels), centered, scale * self.weight.view(channels))

    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.unbiased:
            variance = variance * (count / (count - 1))
        kept = 1.0 - self.momentum
        self.running_mean.mul_(kept).add_(mean * (1.0 - kept))
        self.running_var.mul_(kept).add_(variance * (1.0 - kept))


class UnrolledLSTM(nn.Module):
    """An LSTM of one layer and one direction, step by step; gates i, f, g, o as in `nn.LSTM`.

    Args:
        lstm: The layer to write out; its parameters become this one's.

    Shape:
        - Input: (N, L, H_in), or (L, N, H_in) where `batch_first` is false.
        - Output: the outputs of all steps, (N, L, H) or (L, N, H), and None.

    Reference:
        Hochreiter & Schmidhuber, 1997, https://doi.org/10.1162/neco.1997.9.8.1735
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.time = 1 if lstm.batch_first else 0
        for name, parameter in lstm.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        bias = self.bias_ih_l0 + self.bias_hh_l0
        h = c = None
        outputs = []
        for step in x.unbind(self.time):
            gates = F.linear(step, self.weight_ih_l0, bias)
            # Output and cell are zero before the first step.
            if h is not None:
                gates = gates + F.linear(h, self.weight_hh_l0)
            i, f, g, o = gates.chunk(4, dim=-1)
            new = torch.sigmoid(i) * torch.tanh(g)
            c = new if c is None else torch.sigmoid(f) * c + new
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, self.time), None
