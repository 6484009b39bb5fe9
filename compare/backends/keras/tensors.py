"""A variable of a layer as one named tensor of canonical layout."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np


def to_numpy(value: Any) -> np.ndarray:
    """A copy of a tensor or variable as an array."""
    with warnings.catch_warnings():
        # Keras 3.15 asks TensorFlow for arrays in a way that NumPy 2.4 deprecates.
        warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy")
        return np.array(keras.ops.convert_to_numpy(value))


@dataclass(frozen=True)
class Tensor:
    """A variable, and how its layout becomes the canonical one.

    The same holds for its gradient and for its slots in an optimizer.

    Attributes:
        variable: Of the layer.
        axes: Transposition into the canonical layout, if its own is another.
        reshaped: Canonical shape after that, if it is another still.
    """

    variable: keras.Variable
    axes: tuple[int, ...] | None = None
    reshaped: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in the canonical layout."""
        return self.reshaped or self._transposed_shape()

    def _transposed_shape(self) -> tuple[int, ...]:
        own = tuple(self.variable.shape)
        return own if self.axes is None else tuple(own[axis] for axis in self.axes)

    def canonical(self, value: Any) -> np.ndarray:
        """A copy in the canonical layout of the variable, or of anything laid out like it."""
        array = to_numpy(value)
        array = array if self.axes is None else array.transpose(self.axes).copy()
        return array.reshape(self.shape)

    def assign(self, array: np.ndarray) -> None:
        """Set the variable from an array in the canonical layout.

        Raises:
            ValueError: Its shape is another.
        """
        array = np.asarray(array)
        if array.shape != self.shape:
            raise ValueError(f"expected shape {self.shape}, received {array.shape}")
        array = array.reshape(self._transposed_shape())
        if self.axes is not None:
            array = array.transpose(np.argsort(self.axes))
        self.variable.assign(array)


@dataclass(frozen=True)
class Part:
    """What one entry of a model's list of layers holds: its kind and its tensors by name."""

    kind: str
    tensors: dict[str, Tensor]


def variables_in(layer: keras.Layer, prefix: str = "") -> Iterator[tuple[str, keras.Variable]]:
    """All weights of a layer, those of inner layers by their path; no states of generators."""
    for variable in [*layer._trainable_variables, *layer._non_trainable_variables]:
        yield f"{prefix}{variable.name}", variable
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        yield from variables_in(inner, f"{prefix}{inner.name}/")
