"""What goes into a model: arrays, tuples and dictionaries of them, and made-up samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

Arrays = Any
"""A NumPy array, or a tuple, list or dictionary of such."""


def tensors(arrays: Arrays) -> Any:
    """The same structure with tensors; None stays None."""
    if arrays is None:
        return None
    return keras.tree.map_structure(keras.ops.convert_to_tensor, arrays)


def leaves(arrays: Arrays) -> Iterator[tuple[str, Any]]:
    """What a structure holds, with the path to it: `""` for the array itself, `/0`, `/left`."""
    if isinstance(arrays, dict):
        children = arrays.items()
    elif isinstance(arrays, (list, tuple)):
        children = enumerate(arrays)
    else:
        yield "", arrays
        return
    for key, child in children:
        for path, leaf in leaves(child):
            yield f"/{key}{path}", leaf


def check(model: keras.Model, x: Arrays) -> None:
    """Raise unless samples have the structure that a functional model takes.

    Raises:
        ValueError: They are a dictionary with other keys, or not as many arrays.
    """
    struct = _struct(model)
    if struct is None:
        return
    if isinstance(x, dict):
        names = list(struct) if isinstance(struct, dict) else [t.name for t in model.inputs]
        if set(names) != set(x):
            raise ValueError(
                f"x: {model.name} expects the inputs {_listed(names)}, received {_listed(x)}"
            )
    elif len(keras.tree.flatten(x)) != len(model.inputs):
        names = [t.name for t in model.inputs]
        raise ValueError(
            f"x: {model.name} expects {len(names)} inputs ({_listed(names)}), "
            f"received {len(keras.tree.flatten(x))}"
        )


def _listed(names: Any) -> str:
    return " and ".join(repr(name) for name in names)


def _functional(model: keras.Model) -> Any:
    """The functional model behind a `Sequential` one, itself, or None for a subclassed model."""
    found = getattr(model, "_functional", None) if isinstance(model, keras.Sequential) else model
    return found if hasattr(found, "_inputs_struct") else None


def _struct(model: keras.Model) -> Any:
    functional = _functional(model)
    return None if functional is None else functional._inputs_struct


def sample_input(model: keras.Model, n: int, seed: int) -> Arrays:
    """Made-up samples of the shapes that a model takes.

    Args:
        model: A built model.
        n: Number of samples.
        seed: Of the numbers.

    Returns:
        An array, or a tuple, list or dictionary, as the model takes it: standard normal numbers,
        and whole numbers below the vocabulary where they feed an `Embedding`. Axes of any length,
        such as time, get 8, or 32 each if there are several.

    Raises:
        ValueError: Shapes are unknown, as of a subclassed model that never ran.
    """
    generator = np.random.default_rng(seed)
    struct = _struct(model)
    if struct is not None:
        functional = _functional(model)

        def made_up(tensor: Any) -> np.ndarray:
            size = _vocabulary(functional, tensor)
            if size is None and "int" in tensor.dtype:
                size = _smallest_vocabulary(model) or 2
            return _drawn(generator, (n, *tensor.shape[1:]), size)

        return keras.tree.map_structure(made_up, struct)
    shapes = list((model._build_shapes_dict or {}).values())
    size = _smallest_vocabulary(model)
    single = len(shapes) == 1 and _is_shape(shapes[0])
    if not shapes or (size is not None and not single) or (len(shapes) > 1):
        raise ValueError(f"the input of {model.name} cannot be made up: pass x=")
    if single:
        return _drawn(generator, (n, *shapes[0][1:]), size)
    return _nested(shapes[0], lambda shape: _drawn(generator, (n, *shape[1:]), None))


def _is_shape(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(v is None or isinstance(v, int) for v in value)


def _nested(shapes: Any, made_up: Any) -> Arrays:
    if _is_shape(shapes):
        return made_up(shapes)
    if isinstance(shapes, dict):
        return {key: _nested(shape, made_up) for key, shape in shapes.items()}
    return tuple(_nested(shape, made_up) for shape in shapes)


def _drawn(generator: np.random.Generator, shape: tuple[Any, ...], size: int | None) -> np.ndarray:
    length = 8 if sum(axis is None for axis in shape) == 1 else 32
    shape = tuple(length if axis is None else axis for axis in shape)
    if size is not None:
        return generator.integers(0, size, shape)
    return generator.normal(size=shape).astype(keras.config.floatx())


def _embeddings(model: Any) -> list[Any]:
    return [e for e in model._flatten_layers() if isinstance(e, keras.layers.Embedding)]


def _smallest_vocabulary(model: Any) -> int | None:
    return min((layer.input_dim for layer in _embeddings(model)), default=None)


def _vocabulary(functional: Any, tensor: Any) -> int | None:
    """The smallest vocabulary of the embeddings that an input of a functional model feeds."""
    sizes: list[int] = []
    for operation in functional._operations:
        for node in operation._inbound_nodes:
            positions = [i for i, t in enumerate(node.input_tensors) if t is tensor]
            if not positions:
                continue
            if isinstance(operation, keras.layers.Embedding):
                sizes.append(operation.input_dim)
            inner = _functional(operation) if isinstance(operation, keras.Model) else None
            for position in positions if inner is not None else []:
                found = _vocabulary(inner, inner.inputs[position])
                sizes += [] if found is None else [found]
    return min(sizes, default=None)
