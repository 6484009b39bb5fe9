"""Conventions of tokens and recurrent layers, each on a computation of a few lines.

Each function has a twin of the same name in `keras.demonstrate_sequences`, from the same
numbers, and takes `remedied`: whether the remedy is in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from compare.backends.torch.demonstrate_layers import Arrays, normal
from compare.backends.torch.demonstrate_training import keras_rmsprop

TOKENS = torch.tensor([[1, 2, 3, 1], [2, 1, 1, 0], [3, 4, 0, 0], [4, 0, 0, 0]])
"""Four sequences; token 0 pads them at the end."""


def embedding(**options: Any) -> nn.Embedding:
    """Five tokens of three features."""
    table = nn.Embedding(5, 3, dtype=torch.float64, **options)
    table.weight.data.copy_(normal(5, 3))
    return table


def trained(
    table: nn.Embedding, rate: float, before: Callable[[int], None] = lambda step: None
) -> Arrays:
    """The table of tokens after 30 steps towards random targets; `before` runs before each."""
    optimizer = torch.optim.SGD(table.parameters(), lr=rate)
    for step in range(30):
        optimizer.zero_grad()
        F.mse_loss(table(TOKENS), normal(4, 4, 3)).backward()
        before(step)
        optimizer.step()
    return {"tokens": table.weight.detach().numpy()}


def padding_idx(remedied: bool) -> Arrays:
    """A table all of whose rows are trained, or all but that of padding."""
    return trained(embedding() if remedied else embedding(padding_idx=0), 0.5)


def sparse_gradients(remedied: bool) -> Arrays:
    """RMSprop as Keras computes it for dense gradients: the remedy is on Keras' side."""
    table = embedding()
    return trained(table, 0.01, keras_rmsprop(table))


def mask_zero(remedied: bool) -> Arrays:
    """A recurrent layer that stops at the end of each sequence, or sees zeros behind it."""
    rnn = nn.RNN(3, 4, batch_first=True, dtype=torch.float64)
    for p, value in zip(rnn.parameters(), (normal(3, 4).T, normal(4, 4).T), strict=False):
        p.data.copy_(value)
    nn.init.zeros_(rnn.bias_ih_l0)
    nn.init.zeros_(rnn.bias_hh_l0)
    steps: Any = embedding(padding_idx=0)(TOKENS) * (TOKENS != 0).unsqueeze(-1)
    if remedied:
        lengths = (TOKENS != 0).sum(dim=1)
        steps = pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
    return {"output": rnn(steps)[1][0].detach().numpy()}


def _reset_before(x: Tensor, kernel: Tensor, recurrent: Tensor) -> Tensor:
    """The last state of a GRU that resets its state before the recurrent kernel."""
    h = x.new_zeros(len(x), recurrent.shape[0])
    update, reset, new = recurrent.chunk(3, dim=1)
    for step in x.unbind(dim=1):
        z, r, n = (step @ kernel).chunk(3, dim=1)
        z, r = torch.sigmoid(z + h @ update), torch.sigmoid(r + h @ reset)
        h = z * h + (1.0 - z) * torch.tanh(n + (r * h) @ new)
    return h


def gru_reset_after(remedied: bool) -> Arrays:
    """A GRU of four units with Keras' weights, in a cell by hand or in Torch's."""
    x, weights = normal(8, 5, 3), (normal(3, 12), normal(4, 12))
    if remedied:
        return {"output": _reset_before(x, *weights).numpy()}
    gru = nn.GRU(3, 4, batch_first=True, bias=False, dtype=torch.float64)
    for p, value in zip(gru.parameters(), weights, strict=True):
        update, reset, new = value.T.chunk(3)
        p.data.copy_(torch.cat((reset, update, new)))
    return {"output": gru(x)[0][:, -1].detach().numpy()}
