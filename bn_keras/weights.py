"""The weights of any Keras model under canonical names, such as `layer/kernel`.

Names and layouts are Keras' own, so nothing is converted here; `bn_torch.weights` converts.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np


def to_numpy(value: Any) -> np.ndarray:
    """A copy of a tensor or variable as an array."""
    with warnings.catch_warnings():
        # Keras 3.15 asks TensorFlow for arrays in a way that NumPy 2.4 deprecates.
        warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy")
        return np.array(keras.ops.convert_to_numpy(value))


def weighted_layers(model: keras.Model) -> dict[str, keras.Layer]:
    """The layers with weights of their own, by name, in the order in which the model holds them.

    A layer within a nested model or layer is named by its path: `encoder/dense`. A recurrent layer
    counts as one, its cell as a part of it.

    Raises:
        ValueError: Two layers have the same name, or the model is not built.
    """
    if not model.built:
        raise ValueError(f"{model.name} has no weights yet: build it, or call it once")
    found: dict[str, keras.Layer] = {}
    _collect(model, "", found)
    return found


def _collect(layer: keras.Layer, prefix: str, found: dict[str, keras.Layer]) -> None:
    whole = isinstance(layer, keras.layers.RNN)
    for child in [] if whole else layer._flatten_layers(include_self=False, recursive=False):
        _collect(child, f"{prefix}{child.name}/", found)
    if whole or layer._trainable_variables or layer._non_trainable_variables:
        name = prefix.removesuffix("/")
        if name in found:
            raise ValueError(f"two layers are called {name}: give them distinct names")
        found[name] = layer


def layer_variables(layer: keras.Layer) -> dict[str, keras.Variable]:
    """The weights of one of `weighted_layers` by name: `kernel`, `gamma`."""
    if isinstance(layer, keras.layers.RNN):
        return {variable.name: variable for variable in layer.weights}
    own = [*layer._trainable_variables, *layer._non_trainable_variables]
    return {variable.name: variable for variable in own}


def named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The weights of a model by canonical name: `lstm/recurrent_kernel`, `encoder/dense/kernel`.

    Raises:
        ValueError: Two layers have the same name, or the model is not built.
    """
    return {
        f"{path}/{name}": variable
        for path, layer in weighted_layers(model).items()
        for name, variable in layer_variables(layer).items()
    }


def read_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Copies of all weights and moving statistics, by canonical name."""
    return {name: to_numpy(variable) for name, variable in named_variables(model).items()}


def write_weights(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Set all weights and moving statistics.

    Args:
        model: A built model.
        weights: Exactly the names and shapes that `read_weights` returns.

    Raises:
        ValueError: A name is missing or too many, or a shape differs.
    """
    variables = named_variables(model)
    if variables.keys() != weights.keys():
        odd = sorted(variables.keys() ^ weights.keys())
        raise ValueError(f"weights do not match {model.name}: {', '.join(odd)}")
    for name, variable in variables.items():
        variable.assign(weights[name])
