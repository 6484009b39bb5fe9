"""The parts of a module that draw random numbers while it trains."""

from __future__ import annotations

from torch import nn

_PATHS = ("DropPath", "StochasticDepth")
"""Classes of other libraries that leave out whole branches."""


def random_parts(module: nn.Module) -> list[str]:
    """`path (Dropout, rate 0.5)` for every part that draws numbers in training mode.

    A part that stays in inference mode while the rest trains draws none. Functions such as
    `torch.nn.functional.dropout` cannot be seen.
    """
    return [
        f"{path.replace('.', '/') or 'the module itself'} ({type(part).__name__}, {what})"
        for path, part in module.named_modules()
        if (what := _drawn(part)) and (part.training or not module.training)
    ]


def _drawn(part: nn.Module) -> str | None:
    if isinstance(part, nn.RReLU):
        return f"slope {part.lower} to {part.upper}" if part.lower != part.upper else None
    if isinstance(part, (nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)):
        return "random regions" if part._random_samples is None else None
    rate = 0.0
    if isinstance(part, nn.modules.dropout._DropoutNd):
        rate = part.p
    elif isinstance(part, nn.MultiheadAttention) or (
        isinstance(part, nn.RNNBase) and part.num_layers > 1
    ):
        rate = part.dropout
    elif type(part).__name__ in _PATHS:
        rate = getattr(part, "drop_prob", getattr(part, "p", 0.0)) or 0.0
    return f"rate {rate}" if rate > 0 else None
