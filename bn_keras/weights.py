"""The weights of any Keras model under canonical names, such as `layer/kernel`.

Names and layouts are Keras' own, so nothing is converted here; `bn_torch.weights` converts.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np


def named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The weights of a model by canonical name, in the order of `model.weights`.

    A layer within a nested model is named by its path: `encoder/dense/kernel`. The cell within a
    recurrent layer is left out of the name: `lstm/recurrent_kernel`.

    Raises:
        ValueError: Two weights have the same name, or the model is not built.
    """
    if not model.built:
        raise ValueError(f"{model.name} has no weights yet: build it, or call it once")
    variables: dict[str, keras.Variable] = {}
    _collect(model, "", variables)
    return variables


def _collect(layer: keras.Layer, prefix: str, variables: dict[str, keras.Variable]) -> None:
    children = getattr(layer, "layers", None)
    if children:
        for child in children:
            _collect(child, f"{prefix}{child.name}/", variables)
        return
    for variable in layer.weights:
        name = prefix + variable.name
        if name in variables:
            raise ValueError(f"two weights are called {name}: give their layers distinct names")
        variables[name] = variable


def read_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Copies of all weights and moving statistics, by canonical name."""
    return {
        name: keras.ops.convert_to_numpy(v).copy() for name, v in named_variables(model).items()
    }


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
