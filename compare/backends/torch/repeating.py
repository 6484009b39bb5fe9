"""Whether a module computes the same twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from compare.backends.torch import arrangement
from compare.backends.torch.as_found import as_found, tensors_as_found
from compare.backends.torch.structures import call, leaves, mapped


def repeats(module: nn.Module, x: Any, *, to_torch: Callable[[Any], Any] | None = None) -> bool:
    """Whether two forward passes from the same state return the same in training mode, to the bit.

    A module that raises repeats: that is told where it is trained.

    Args:
        module: Any module; it is left as it was found.
        x: Samples in Keras' layout.
        to_torch: Puts them into the module's layout; None for the usual one.
    """
    arranged = arrangement.of_samples(module, x).to_torch if to_torch is None else to_torch
    with as_found(module), torch.no_grad():
        if not module.training:
            module.train()  # As where it is traced: a frozen part stays in eval().
        outputs = []
        try:
            for _ in range(2):
                # What a buffer keeps is no random number.
                with tensors_as_found(module):
                    outputs.append(_kept(call(module, arrangement.unchanged(arranged(x)))))
        except Exception:
            return True
    one, other = ([leaf for _, leaf in leaves(output)] for output in outputs)
    return all(
        torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)
        for a, b in zip(one, other, strict=True)
        if isinstance(a, Tensor)
    )


def _kept(output: Any) -> Any:
    """A copy: the output may be a buffer, which is put back."""
    return mapped(output, lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf)
