"""How gradients were clipped between `backward` and the optimizer's step, read off the gradients.

Clipping is no setting of Torch's optimizers: a hook, a Trainer or the loop does it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

CLIP_GRAD_NORM_EPSILON = 1e-6
"""What `clip_grad_norm_` adds to the norm of all gradients."""

_Pairs = Sequence[tuple[Tensor, Tensor]]
"""Gradients as `backward` left them, and as the optimizer received them."""


def clipping(parameters: Sequence[nn.Parameter], before: Mapping[int, Tensor]) -> dict[str, Any]:
    """The settings of a rule that say how gradients were clipped; empty if they were not.

    They are empty, too, if gradients were changed in another way, such as multiplied by a number.

    Args:
        parameters: What one optimizer trains, right after its step.
        before: Identity of a parameter → its gradient as `backward` left it.
    """
    found = [
        (before[id(p)], p.grad)
        for p in parameters
        if id(p) in before and p.grad is not None and p.grad.numel() and not p.grad.is_sparse
    ]
    if all(torch.equal(raw, received) for raw, received in found):
        return {}
    pairs = [(raw.double(), received.double()) for raw, received in found]
    if not all(torch.isfinite(received).all() for _, received in pairs):
        return {}
    close = 1e-12 if parameters[0].dtype == torch.float64 else 1e-5
    if _multiplied(pairs, close):
        return {}
    for read in (_by_value, _by_norm_of_all, _by_each_norm):
        if settings := read(pairs, close):
            return settings
    return {}


def _multiplied(pairs: _Pairs, close: float) -> bool:
    """Whether all gradients were multiplied by one number that no clipping multiplies by.

    That is a number above one, zero, or one that somebody wrote, where the bound is not.
    """
    before, after = _norm_of_all(pairs)
    factor = after / before if before else 0.0
    if not all(_scaled(raw, received, factor, close) for raw, received in pairs):
        return False
    bounds = (after, factor * (before + CLIP_GRAD_NORM_EPSILON))
    written = _is_written(factor, close) and not any(_is_written(b, close) for b in bounds)
    return written or not 0.0 < factor < 1.0


def _by_value(pairs: _Pairs, close: float) -> dict[str, Any]:
    bound = max(float(received.abs().max()) for _, received in pairs)
    if all(torch.allclose(g.clamp(-bound, bound), r, rtol=close, atol=0.0) for g, r in pairs):
        return {"clip": "value", "clip_at": _written(bound, close)}
    return {}


def _by_norm_of_all(pairs: _Pairs, close: float) -> dict[str, Any]:
    before, after = _norm_of_all(pairs)
    if not before or not all(_scaled(g, r, after / before, close) for g, r in pairs):
        return {}
    bound = after / before * (before + CLIP_GRAD_NORM_EPSILON)
    # The norm of a single gradient is that of all: the rounder bound is what was written.
    if len(pairs) == 1 and (_is_written(after, close) or not _is_written(bound, close)):
        return {}
    settings = {"clip": "global-norm", "clip_at": _written(bound, close)}
    return {**settings, "clip_epsilon": CLIP_GRAD_NORM_EPSILON}


def _by_each_norm(pairs: _Pairs, close: float) -> dict[str, Any]:
    norms = [(float(before), float(after)) for before, after in _norms(pairs)]
    bound = max((after for before, after in norms if after < before * (1.0 - close)), default=0.0)
    scales = [min(1.0, bound / before) if before else 1.0 for before, _ in norms]
    if all(_scaled(g, r, scale, close) for (g, r), scale in zip(pairs, scales, strict=True)):
        return {"clip": "norm", "clip_at": _written(bound, close)}
    return {}


def _norm_of_all(pairs: _Pairs) -> tuple[float, float]:
    raw, received = zip(*_norms(pairs), strict=True)
    return float(torch.stack(raw).norm()), float(torch.stack(received).norm())


def _norms(pairs: _Pairs) -> list[tuple[Tensor, Tensor]]:
    return [(raw.norm(), received.norm()) for raw, received in pairs]


def _scaled(raw: Tensor, received: Tensor, scale: float, close: float) -> bool:
    # Small values of a tensor are rounded no better than its large ones.
    largest = close * float(received.abs().max())
    return torch.allclose(raw * scale, received, rtol=close, atol=largest)


def _written(bound: float, close: float) -> float:
    """A bound as somebody would have written it, if it is that to rounding."""
    return _short(bound) if _is_written(bound, close) else bound


def _is_written(bound: float, close: float) -> bool:
    return math.isclose(_short(bound), bound, rel_tol=close)


def _short(bound: float) -> float:
    return float(f"{bound:.4g}")
