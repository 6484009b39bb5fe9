"""The register of bugs that can be put into a live module; see `torch.mutations`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bn_torch.module import BinaryClassifier

Bug = Callable[[BinaryClassifier, float], None]
"""Changes a module in place; the number is how large the bug is, for bugs that have a size."""

BUGS: dict[str, Bug] = {}
"""Name → bug."""


def bug(function: Bug) -> Bug:
    """Register a bug under the function's name, with dashes and none in front."""
    BUGS[function.__name__.strip("_").replace("_", "-")] = function
    return function


def override(handle: BinaryClassifier, **methods: Callable[..., Any]) -> None:
    """Give a module methods of its own, as a subclass would, over those it was given before."""
    kind = type(handle)
    handle.__class__ = type(kind.__name__, (kind,), methods)
