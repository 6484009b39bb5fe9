"""Small computations for the conventions of dropout, as in `demos`, with shared numbers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from compare.backends.draws import Draws
from compare.backends.torch.demos import Demonstration, normal
from compare.backends.torch.randomness import shared


def _output(*parts: nn.Module, training: bool = True) -> dict[str, Any]:
    """What these modules return in training mode, or in evaluation."""
    module = nn.Sequential(*parts).double().train(training)
    draws = Draws()
    with shared(module, draws):
        draws.begin(1)
        return {"output": module(normal(6, 4, 3))}


class _Channels(nn.Module):
    """Drops whole channels where they are last."""

    def forward(self, x: Tensor) -> Tensor:
        kept = x.new_empty(len(x), 1, x.shape[-1]).bernoulli_(0.75)
        return x * kept / 0.75


class _Functional(nn.Module):
    """Dropout as a function.

    Args:
        told: Whether the function is told the mode.
    """

    def __init__(self, told: bool) -> None:
        super().__init__()
        self.told = told

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.25, self.training) if self.told else F.dropout(x, 0.25)


def _placed(remedied: bool) -> dict[str, Any]:
    drop, norm = nn.Dropout(0.25), nn.LayerNorm(3, eps=1e-3)
    return _output(drop, norm) if remedied else _output(norm, drop)


DEMONSTRATIONS: dict[str, Demonstration] = {
    "dropout-rate": lambda remedied: _output(nn.Dropout(0.25 if remedied else 0.5)),
    "dropout-kind": lambda remedied: _output(_Channels() if remedied else nn.Dropout(0.25)),
    "dropout-in-eval": lambda remedied: _output(_Functional(remedied), training=False),
    "dropout-missing": lambda remedied: _output(nn.Dropout(0.25) if remedied else nn.Identity()),
    "dropout-place": _placed,
}
