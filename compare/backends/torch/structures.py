"""Samples and targets as they come: one tensor, or tuples, lists and dictionaries of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def mapped(structure: Any, function: Callable[[Any], Any]) -> Any:
    """The same structure with the function's value at every leaf."""
    if isinstance(structure, dict):
        return {key: mapped(value, function) for key, value in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(mapped(value, function) for value in structure))
    if isinstance(structure, (tuple, list)):
        return type(structure)(mapped(value, function) for value in structure)
    return function(structure)


def leaves(structure: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its name: `name`, or `name/<index or key>`; None is no leaf."""
    if isinstance(structure, dict):
        items: Any = structure.items()
    elif isinstance(structure, (tuple, list)):
        items = enumerate(structure)
    else:
        items = ()
        if structure is not None:
            yield name, structure
    for key, value in items:
        yield from leaves(value, f"{name}/{key}")


def tensor(leaf: Any) -> Tensor:
    """An array or tensor as a tensor of its own; whole numbers as int64, as Torch's layers want."""
    found = leaf.clone() if isinstance(leaf, Tensor) else torch.from_numpy(np.array(leaf))
    whole = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool)
    return found.long() if whole else found


def call(module: nn.Module, x: Any) -> Any:
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
