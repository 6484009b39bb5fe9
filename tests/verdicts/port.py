"""A port of a Keras model, and what a right verdict says of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from torch import nn

Inputs = Callable[[np.random.Generator], tuple[Any, Any]]


@dataclass(frozen=True)
class Original:
    """A Keras model and what it is trained on.

    Attributes:
        name: Its name; models of one name are the same.
        build: Builds and compiles it.
        inputs: Samples and targets, in Keras' layout.
        options: Options of `check_parity` without which no port of it can be read: `pairs`,
            `to_torch`, `steps`.
    """

    name: str
    build: Callable[[], keras.Model] = field(compare=False)
    inputs: Inputs = field(compare=False)
    options: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Fault:
    """What a wrong port has done to it.

    Attributes:
        places: Where the blame may go: Keras layers, spans, `loss`, `optimizer`, `output`.
        cause: The convention that is the cause; None where none of the catalogue is.
        also: Conventions that may be named as well: they say something true of the cause.
    """

    places: frozenset[str]
    cause: str | None = None
    also: frozenset[str] = frozenset()

    @property
    def causes(self) -> frozenset[str]:
        """Every name that is no wrong name."""
        return self.also if self.cause is None else self.also | {self.cause}


def fault(*places: str, cause: str | None = None, also: Collection[str] = ()) -> Fault:
    """A fault of these places."""
    return Fault(frozenset(places), cause, frozenset(also))


@dataclass(frozen=True)
class Port:
    """A Torch module that is, or should be, the same computation as a Keras model.

    Attributes:
        name: What was done.
        original: The Keras side.
        build: Builds the module.
        fault: What is wrong with it; None for a right port.
        objective: `torch_loss` and `torch_optimizer` of a plain module.
        right: Builds the right module, whose weights a wrong one is given. Without it the check
            carries weights over itself, as a user has it done (`weights_from`).
        spoil: Changes the module in place, once it has its weights; the right one where `build`
            is `right`.
        allow: Conventions that the user accepts.
        dtype: Dtype of both sides.
    """

    name: str
    original: Original
    build: Callable[[], nn.Module]
    fault: Fault | None = None
    objective: Mapping[str, Any] = field(default_factory=dict)
    right: Callable[[], nn.Module] | None = None
    spoil: Callable[[nn.Module], object] | None = None
    allow: tuple[str, ...] = ()
    dtype: str = "float64"

    @property
    def label(self) -> str:
        """A name that no other port has."""
        dtype = "" if self.dtype == "float64" else f" ({self.dtype})"
        return f"{self.original.name}: {self.name}{dtype}"
