"""Walk samples, targets and outputs: one array, or tuples, lists and dictionaries of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Structure = Any
"""An array, or a tuple, list or dictionary of structures."""


def mapped(function: Callable[[Any], Any], structure: Structure) -> Structure:
    """The same structure with a function applied to every array.

    Args:
        function: From an array, or whatever else stands at its place, to what replaces it.
        structure: Its tuples, lists and mappings are walked; a mapping becomes a `dict`.
    """
    if isinstance(structure, Mapping):
        return {key: mapped(function, part) for key, part in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(mapped(function, part) for part in structure))
    if isinstance(structure, tuple | list):
        return type(structure)(mapped(function, part) for part in structure)
    return function(structure)


def leaves(structure: Structure, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every array with its name: `x` itself, or `x/0`, `x/image`, `x/image/0` of what `x` holds.

    Args:
        structure: As `mapped` takes it; what is None is yielded too.
        name: What the whole is called.
    """
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
