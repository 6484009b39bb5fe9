"""What optimizers keep for every parameter, with Keras' names, signs and scales.

Of those that Torch brings along, SGD, Adam, AdamW and RMSprop have slots that Keras' have too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compare.backends.torch.weights import named_tensors, to_numpy


def _velocity(buffer: Tensor, group: dict[str, Any], rate: float) -> Tensor:
    # Keras keeps the learning rate within the velocity. Its SGD descends by adding it, its RMSprop
    # by subtracting.
    return (rate if "alpha" in group else -rate) * buffer


def _itself(buffer: Tensor, group: dict[str, Any], rate: float) -> Tensor:
    return buffer


_SLOTS: dict[str, tuple[str, Callable[[Tensor, dict[str, Any], float], Tensor]]] = {
    "momentum_buffer": ("velocity", _velocity),
    "exp_avg": ("first_moment", _itself),
    "exp_avg_sq": ("second_moment", _itself),
    "max_exp_avg_sq": ("max_second_moment", _itself),
    "square_avg": ("second_moment", _itself),
    "grad_avg": ("average_gradient", _itself),
}


_KNOWN = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)


def _has_keras_slots(optimizer: torch.optim.Optimizer) -> bool:
    """Whether what it keeps is what Keras keeps; one that a user wrote is taken at its names."""
    bases = {cls for cls in type(optimizer).__mro__ if cls.__module__.startswith("torch.optim.")}
    return isinstance(optimizer, _KNOWN) or bases == {torch.optim.Optimizer}


class Slots:
    """Reads the slots of optimizers; learning rates are those that the step was taken with."""

    def __init__(self) -> None:
        self._rates: dict[int, list[float]] = {}

    def note_rates(self, optimizer: torch.optim.Optimizer) -> None:
        """Call it before the step: a schedule changes the rates after it."""
        self._rates[id(optimizer)] = [float(group["lr"]) for group in optimizer.param_groups]

    def read(
        self, root: nn.Module, optimizer: torch.optim.Optimizer
    ) -> Iterator[tuple[str, np.ndarray]]:
        """`<layer>/<tensor>/<slot>` and its value, for everything that the optimizer keeps.

        Of what is trained but got no gradient so far Torch keeps nothing, Keras zeros.
        """
        if not _has_keras_slots(optimizer):
            return
        groups = optimizer.param_groups
        rates = self._rates.get(id(optimizer)) or [float(group["lr"]) for group in groups]
        of_parameter = {
            id(p): (group, rate)
            for group, rate in zip(groups, rates, strict=True)
            for p in group["params"]
        }
        kept = {key for state in optimizer.state.values() for key in state}
        for key, (slot, convert) in _SLOTS.items():
            if key not in kept:
                continue

            def of(p: Tensor, key: str = key, convert: Any = convert) -> Tensor | None:
                state = optimizer.state.get(p, {})
                if id(p) in of_parameter and not state and p.requires_grad and p.grad is None:
                    return torch.zeros_like(p)
                value = state.get(key)
                return None if value is None else convert(value.detach(), *of_parameter[id(p)])

            for name, tensor in named_tensors(root, of).items():
                yield f"{name}/{slot}", to_numpy(tensor)
