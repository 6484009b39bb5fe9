"""Whether a module computes the same twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bn_torch import arrangement
from bn_torch.as_found import as_found
from bn_torch.structures import call, leaves


def repeats(module: nn.Module, x: Any, *, to_torch: Callable[[Any], Any] | None = None) -> bool:
    """Whether two forward passes in training mode return the same, to the bit.

    A module that raises repeats: that is told where it is trained.

    Args:
        module: Any module; it is left as it was found.
        x: Samples in Keras' layout.
        to_torch: Puts them into the module's layout; None for the usual one.
    """
    arranged = arrangement.of_samples(module, x).to_torch if to_torch is None else to_torch
    with as_found(module), torch.no_grad():
        module.train()
        try:
            outputs = [call(module, arrangement.unchanged(arranged(x))) for _ in range(2)]
        except Exception:
            return True
    one, other = ([leaf for _, leaf in leaves(output)] for output in outputs)
    return all(
        torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)
        for a, b in zip(one, other, strict=True)
        if isinstance(a, Tensor)
    )
