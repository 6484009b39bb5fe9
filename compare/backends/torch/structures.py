"""Samples as Torch takes them: arrays as tensors, and the arguments of `forward`."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compare.backends.structures import Structure, mapped


def tensors(structure: Structure) -> Structure:
    """The same structure as new tensors; whole numbers as int64, as Torch's layers want."""
    return mapped(_tensor, structure)


def _tensor(leaf: Any) -> Tensor:
    own = leaf.clone() if isinstance(leaf, Tensor) else torch.from_numpy(np.array(leaf))
    whole = not (own.is_floating_point() or own.is_complex() or own.dtype == torch.bool)
    return own.long() if whole else own


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """A copy as an array."""
    own = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    array: NDArray[Any] = own.numpy()
    return array


def call(module: nn.Module, x: Structure) -> Any:
    """Call a module on samples.

    A tuple goes to a `forward` of several arguments one by one, a dictionary to one whose arguments
    have its keys by name; anything else as the one argument.

    Raises:
        ValueError: A dictionary has other keys than `forward` has arguments.
    """
    if isinstance(x, dict):
        return module(**x) if _takes(module, x) else module(x)
    if isinstance(x, (tuple, list)) and not hasattr(x, "_fields") and _several(module):
        return module(*x)
    return module(x)


def _parameters(module: nn.Module) -> list[inspect.Parameter]:
    return list(inspect.signature(module.forward).parameters.values())


def _several(module: nn.Module) -> bool:
    kinds = [p.kind for p in _parameters(module)]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    several = sum(kind in positional for kind in kinds) > 1
    return several or inspect.Parameter.VAR_POSITIONAL in kinds


def _takes(module: nn.Module, x: dict[str, Any]) -> bool:
    parameters = _parameters(module)
    names = {p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}
    needed = {
        p.name
        for p in parameters
        if p.default is inspect.Parameter.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    }
    anything = len(names) < len(parameters)
    if needed <= x.keys() and (x.keys() <= names or anything):
        return True
    if len(needed) > 1:
        raise ValueError(
            f"x: {type(module).__name__}.forward takes {', '.join(sorted(needed))}, "
            f"received the keys {', '.join(map(str, x))}: name the inputs alike, or pass to_torch"
        )
    return False
