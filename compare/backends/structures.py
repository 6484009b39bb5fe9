"""Walk samples, targets and outputs: one array, or tuples, lists and dictionaries of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

Structure = Any
"""An array, or a tuple, list or dictionary of structures."""


class Weighted(NamedTuple):
    """Targets, and what the loss of each sample is multiplied by, (n,)."""

    targets: Structure
    weights: Any


def without_weights(y: Structure | None) -> Structure | None:
    """The targets alone."""
    return y.targets if isinstance(y, Weighted) else y


def as_batch(x: Structure, y: Structure | None) -> tuple[Any, ...]:
    """What a training step is given: samples and targets, and weights where there are any."""
    return (x, *y) if isinstance(y, Weighted) else (x, y)


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
