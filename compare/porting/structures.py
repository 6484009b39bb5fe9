"""Samples and targets as models take them: an array, a tuple of arrays, or a dict of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.errors import InputError

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


def checked(name: str, structure: Structure, dtype: str) -> Structure:
    """The same structure of arrays, floating ones in a dtype.

    Args:
        name: What it is called in messages: `"x"`.
        structure: Arrays or what NumPy makes arrays of, all with as many samples along axis 0.
        dtype: `"float32"` or `"float64"`.

    Raises:
        InputError: An array is empty, holds no numbers, or one that is not finite; or the numbers
            of samples differ.
    """
    counts = {}
    for leaf, value in leaves(structure, name):
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise InputError(f"{leaf}: expected an array of numbers, received dtype {array.dtype}.")
        if array.ndim == 0 or len(array) == 0:
            raise InputError(f"{leaf}: expected at least one sample, received shape {array.shape}.")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{leaf}: expected finite numbers, received NaN or infinity.")
        counts[leaf] = len(array)
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{leaf} {count}" for leaf, count in counts.items())
        raise InputError(f"{name}: expected as many samples in every array, received {told}.")

    def cast(value: Any) -> NDArray[Any]:
        array = np.asarray(value)
        return array.astype(dtype) if array.dtype.kind == "f" else array

    return map_leaves(cast, structure)


def samples(structure: Structure, count: int) -> Structure:
    """The first samples of every array."""
    return map_leaves(lambda array: array[:count], structure)


def digest(structure: Structure, name: str) -> str:
    """SHA-256 over every array's name, dtype, shape and values."""
    found = hashlib.sha256()
    for leaf, array in leaves(structure, name):
        found.update(f"{leaf} {array.dtype.str} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
