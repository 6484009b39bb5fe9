"""Nested samples: one array, or tuples, lists and dicts of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Structure = Any
"""An array, or a tuple, list or dict of structures."""


def map_leaves(function: Callable[[Any], Any], structure: Structure) -> Structure:
    """The same structure with a function applied to every array."""
    if isinstance(structure, Mapping):
        return {key: map_leaves(function, part) for key, part in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(map_leaves(function, part) for part in structure))
    if isinstance(structure, tuple | list):
        return type(structure)(map_leaves(function, part) for part in structure)
    return function(structure)


def leaves(structure: Structure, name: str) -> Iterator[tuple[str, Any]]:
    """Every array with its name: `x`, `x/0`, `x/image`."""
    parts: Iterable[tuple[Any, Any]]
    if isinstance(structure, Mapping):
        parts = structure.items()
    elif isinstance(structure, tuple | list):
        parts = enumerate(structure)
    else:
        yield name, structure
        return
    for key, part in parts:
        yield from leaves(part, f"{name}/{key}")
