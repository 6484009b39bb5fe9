"""The weights of any Keras model under canonical names, such as `layer/kernel`.

Names and layouts are Keras' own, so little is converted here; `torch.weights` converts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import keras
import numpy as np

from compare.backends.keras import rules
from compare.backends.keras.rules import Part, Tensor
from compare.data import Array


@dataclass(frozen=True)
class Weighted:
    """A layer with weights of its own.

    Attributes:
        name: Its path in the model, `encoder/dense`.
        layer: Itself.
        parts: Its entries in a list of layers, by name: one, or the two of a separable convolution.
        host: The `TimeDistributed` around it, if it is in one.
    """

    name: str
    layer: keras.Layer
    parts: dict[str, Part]
    host: keras.Layer | None = None


def weighted_layers(model: keras.Model) -> list[Weighted]:
    """The layers with weights of their own, in the order in which the model holds them.

    A layer within a nested model or layer is named by its path: `encoder/dense`. A layer that a
    rule knows counts as one, what it is made of as a part of it.

    Raises:
        TypeError: There are weights that no rule knows.
        ValueError: Two layers have the same name, or the model is not built.
    """
    if not model.built:
        raise ValueError(
            f"{model.name} has no weights yet: build it, by model.build(input_shape) or by "
            "calling it on a batch"
        )
    layers = list(_walk(model, "", set()))
    names = [name for weighted in layers for name in weighted.parts]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two layers are called {name}: give them distinct names")
    return layers


def _walk(layer: keras.Layer, path: str, seen: set[int]) -> Iterator[Weighted]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    host = None
    if isinstance(layer, keras.layers.TimeDistributed):
        host, layer = layer, layer.layer
        seen.add(id(layer))
        inner = f"{path}/{layer.name}"
        recurrent = isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional))
        parts = None if recurrent else rules.parts(layer, inner)
        if parts is None and layer.weights:
            raise TypeError(
                f"TimeDistributed around {type(layer).__name__} ({path}) is not known: only around "
                "a single layer such as Dense or Conv2D; fold time into the samples instead"
            )
        path = inner
    else:
        parts = rules.parts(layer, path or layer.name)
        if parts is None:
            for child in layer._flatten_layers(include_self=False, recursive=False):
                yield from _walk(child, f"{path}/{child.name}".removeprefix("/"), seen)
    path = path or layer.name
    named = {f"{path}/{name}".removesuffix("/"): part for name, part in (parts or {}).items()}
    if any(part.tensors for part in named.values()):
        yield Weighted(path, layer, named, host)


def named_tensors(model: keras.Model) -> dict[str, Tensor]:
    """The weights of a model by canonical name, each with the way to its canonical layout.

    Raises:
        TypeError: There are weights that no rule knows.
        ValueError: Two layers have the same name, or the model is not built.
    """
    return {
        f"{name}/{key}": tensor
        for weighted in weighted_layers(model)
        for name, part in weighted.parts.items()
        for key, tensor in part.tensors.items()
    }


def read_weights(model: keras.Model) -> dict[str, Array]:
    """See `Framework.read_weights`."""
    return {name: t.canonical(t.variable) for name, t in named_tensors(model).items()}


def write_weights(model: keras.Model, weights: Mapping[str, Array]) -> None:
    """See `Framework.write_weights`; nothing is set where it raises `ValueError`."""
    tensors = named_tensors(model)
    if tensors.keys() != weights.keys():
        odd = sorted(tensors.keys() ^ weights.keys())
        raise ValueError(f"weights do not match {model.name}: {', '.join(odd)}")
    for name, tensor in tensors.items():
        if tensor.shape != np.shape(weights[name]):
            raise ValueError(
                f"{name}: expected shape {tensor.shape}, received {np.shape(weights[name])}"
            )
    for name, tensor in tensors.items():
        tensor.assign(weights[name])


def write_some(model: keras.Model, weights: Mapping[str, Array]) -> None:
    """Set the weights that are named, and no other; names and shapes as `read_weights` has them."""
    if weights:
        tensors = named_tensors(model)
        for name, array in weights.items():
            tensors[name].assign(array)
