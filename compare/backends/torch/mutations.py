"""Known port bugs, put into a live module on purpose: a judge must find every one of them."""

from __future__ import annotations

from bn_torch.module import BinaryClassifier
from compare.backends.torch import mutated_layers, mutated_norms, mutated_training
from compare.backends.torch.bugs import BUGS

__all__ = ["BUGS", "inject", "mutated_layers", "mutated_norms", "mutated_training"]


def inject(handle: BinaryClassifier, name: str, size: float) -> None:
    """Put a bug into a module.

    Args:
        handle: The module, changed in place.
        name: Which bug.
        size: How large it is, for bugs that have a size; zero is none.

    Raises:
        ValueError: No bug has this name.
    """
    if name not in BUGS:
        raise ValueError(f"unknown bug {name!r}; known: {', '.join(BUGS)}")
    BUGS[name](handle, size)
