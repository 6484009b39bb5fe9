"""What goes into a model and comes out of it: arrays and tensors, and made-up samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from compare.backends.structures import Structure


def to_numpy(value: Any) -> NDArray[Any]:
    """A copy of a tensor or variable as an array."""
    with warnings.catch_warnings():
        # Keras 3.15 asks TensorFlow for arrays in a way that NumPy 2.4 deprecates.
        warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy")
        return np.array(keras.ops.convert_to_numpy(value))


def as_tensors(arrays: Structure) -> Any:
    """The same structure with tensors; None stays None."""
    if arrays is None:
        return None
    return keras.tree.map_structure(keras.ops.convert_to_tensor, arrays)


def check(model: keras.Model, x: Structure) -> None:
    """Raise unless samples have the structure that a functional model takes.

    Raises:
        ValueError: They are a dictionary with other keys, or not as many arrays.
    """
    functional = _functional(model)
    if functional is None:
        return
    names = [tensor.name for tensor in model.inputs]
    if isinstance(x, dict):
        structure = functional._inputs_struct
        names = list(structure) if isinstance(structure, dict) else names
        if set(names) != set(x):
            raise ValueError(
                f"x: {model.name} expects the inputs {_listed(names)}, received {_listed(x)}"
            )
    elif len(keras.tree.flatten(x)) != len(names):
        raise ValueError(
            f"x: {model.name} expects {len(names)} inputs ({_listed(names)}), "
            f"received {len(keras.tree.flatten(x))}"
        )


def _listed(names: Any) -> str:
    return " and ".join(repr(name) for name in names)


def _functional(model: keras.Model) -> Any:
    """The functional model behind a `Sequential` one, itself, or None for a subclassed model."""
    behind = getattr(model, "_functional", None) if isinstance(model, keras.Sequential) else model
    return behind if hasattr(behind, "_inputs_struct") else None


def sample_input(model: keras.Model, n: int, seed: int) -> Structure:
    """See `KerasFramework.sample_input`; the structure is the one that the model takes."""
    generator = np.random.default_rng(seed)
    layers = model._flatten_layers()
    embeddings = [layer for layer in layers if isinstance(layer, keras.layers.Embedding)]
    vocabulary = min((layer.input_dim for layer in embeddings), default=None)
    functional = _functional(model)
    if functional is not None:

        def made_up(tensor: Any) -> NDArray[Any]:
            size = _vocabulary(functional, tensor)
            if size is None and "int" in tensor.dtype:
                size = vocabulary or 2
            return _drawn(generator, (n, *tensor.shape[1:]), size)

        return keras.tree.map_structure(made_up, functional._inputs_struct)
    shapes = list((model._build_shapes_dict or {}).values())
    if len(shapes) != 1 or (vocabulary is not None and not _is_shape(shapes[0])):
        raise ValueError(f"the input of {model.name} cannot be made up: pass x=")
    return _nested(shapes[0], lambda shape: _drawn(generator, (n, *shape[1:]), vocabulary))


def _is_shape(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(v is None or isinstance(v, int) for v in value)


def _nested(shapes: Any, made_up: Callable[[Any], Structure]) -> Structure:
    if _is_shape(shapes):
        return made_up(shapes)
    if isinstance(shapes, dict):
        return {key: _nested(shape, made_up) for key, shape in shapes.items()}
    return tuple(_nested(shape, made_up) for shape in shapes)


def _drawn(
    generator: np.random.Generator, shape: tuple[int | None, ...], size: int | None
) -> NDArray[Any]:
    length = 8 if shape.count(None) == 1 else 32
    sizes = tuple(length if axis is None else axis for axis in shape)
    if size is not None:
        return generator.integers(0, size, sizes)
    return generator.normal(size=sizes).astype(keras.config.floatx())


def _vocabulary(functional: Any, tensor: Any) -> int | None:
    """The smallest vocabulary of the embeddings that an input of a functional model feeds."""
    sizes: list[int | None] = []
    for operation in functional._operations:
        inner = _functional(operation) if isinstance(operation, keras.Model) else None
        for node in operation._inbound_nodes:
            positions = [i for i, t in enumerate(node.input_tensors) if t is tensor]
            if positions and isinstance(operation, keras.layers.Embedding):
                sizes.append(operation.input_dim)
            if inner is not None:
                sizes += [_vocabulary(inner, inner.inputs[position]) for position in positions]
    return min((size for size in sizes if size is not None), default=None)
