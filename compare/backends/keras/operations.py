"""Everything that runs in a model, weighted or not, and how what has no weights is set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import keras
from keras.src.ops.image import Resize

from compare.backends.keras import steps
from compare.backends.keras.hooks import recording
from compare.backends.keras.preserve_state import as_found, shadow
from compare.backends.keras.structures import as_tensors
from compare.backends.keras.weights import weighted_layers
from compare.backends.structures import Structure
from compare.trace import Operation

_K = keras.layers
_MAX_POOLS = (_K.MaxPooling1D, _K.MaxPooling2D, _K.MaxPooling3D)
_AVERAGE_POOLS = (_K.AveragePooling1D, _K.AveragePooling2D, _K.AveragePooling3D)
_SILENT = (_K.InputLayer, _K.Activation)
"""What is not named by its class: an activation is by its function."""


def operations(model: keras.Model, x: Structure) -> list[Operation]:
    """See `Framework.operations`."""
    ran: list[Operation] = []
    weighted = {id(w.host or w.layer): list(w.parts) for w in weighted_layers(model)}
    # Recording looks behind activations, and puts something else in their place.
    leaves = [(leaf, getattr(leaf, "activation", None)) for leaf in _leaves(model, {*weighted})]
    with as_found(model), steps.eagerly(), ExitStack() as stack:
        # In the order in which a trace runs them.
        stack.enter_context(recording(model, lambda name, tensor: None))
        for leaf, activation in leaves:
            noted = _noted(leaf, ran, weighted.get(id(leaf), []), activation)
            shadow(stack, leaf, "call", noted)
        steps.forward(model, as_tensors(x), training=False)
    return ran


def _leaves(layer: Any, wholes: set[int]) -> Iterator[Any]:
    """What runs as one: layers with weights, layers without parts, and operations of a graph."""
    if id(layer) in wholes:
        yield layer
        return
    parts = list(layer._flatten_layers(include_self=False, recursive=False))
    for part in parts:
        yield from _leaves(part, wholes)
    for operation in vars(layer).get("_operations", ()):
        if not isinstance(operation, keras.Layer):
            yield operation
    if not parts and not isinstance(layer, (_K.InputLayer, keras.Model)):
        yield layer


def _noted(
    thing: Any, ran: list[Operation], weighted: list[str], activation: Any
) -> Callable[..., Any]:
    call = thing.call

    def noted(*args: Any, **kwargs: Any) -> Any:
        if weighted:
            ran.extend({"name": name, "kind": "", "settings": {}} for name in weighted)
            if activation is not None and not isinstance(thing, (_K.RNN, _K.Bidirectional)):
                _add(ran, _function(activation))
        else:
            _add(ran, _described(thing))
        return call(*args, **kwargs)

    return noted


def _add(ran: list[Operation], operation: Operation | None) -> None:
    if operation is not None:
        ran.append(operation)


def _function(function: Any) -> Operation | None:
    """An activation by its name; None for the identity."""
    if isinstance(function, keras.Layer):
        return _described(function)
    name = str(getattr(function, "__name__", type(function).__name__))
    if name == "linear":
        return None
    defaults: dict[str, dict[str, Any]] = {
        "leaky_relu": {"negative_slope": 0.2},
        "gelu": {"approximate": False},
    }
    return {"name": name, "kind": name, "settings": defaults.get(name, {})}


def _described(thing: Any) -> Operation | None:
    if isinstance(thing, _K.Activation):
        activation = _function(thing.activation)
        return None if activation is None else {**activation, "name": thing.name}
    kind, settings = _known(thing)
    return {"name": thing.name, "kind": kind, "settings": settings}


def _known(thing: Any) -> tuple[str, dict[str, Any]]:
    """Kind and settings in words that both frameworks share; the class's name for the rest."""
    if isinstance(thing, _K.LeakyReLU):
        return "leaky_relu", {"negative_slope": float(thing.negative_slope)}
    if isinstance(thing, _K.ELU):
        return "elu", {"alpha": float(thing.alpha)}
    if isinstance(thing, (*_MAX_POOLS, *_AVERAGE_POOLS)):
        average = isinstance(thing, _AVERAGE_POOLS)
        settings = {
            "pool_size": list(thing.pool_size),
            "strides": list(thing.strides),
            "padding": thing.padding,
        }
        # Of the pixels that are padded none counts.
        padded = {"count_include_pad": False} if average and thing.padding == "same" else {}
        return "average_pool" if average else "max_pool", {**settings, **padded}
    if isinstance(thing, (_K.UpSampling1D, _K.UpSampling2D, _K.UpSampling3D)):
        size = thing.size if isinstance(thing.size, (tuple, list)) else [thing.size]
        way = getattr(thing, "interpolation", "nearest")
        return "upsample", {"size": list(size), "interpolation": way, **_corners(way)}
    # Where it cuts or fills, more than the size changes.
    if isinstance(thing, (_K.Resizing, Resize)) and not (
        thing.crop_to_aspect_ratio or thing.pad_to_aspect_ratio
    ):
        return "upsample", _resized(thing)
    return type(thing).__name__.lower(), {}


def _resized(thing: Any) -> dict[str, Any]:
    """To a size of its own, enlarged or not."""
    size = [thing.height, thing.width] if isinstance(thing, _K.Resizing) else list(thing.size)
    return {
        "output_size": size,
        "interpolation": thing.interpolation,
        "antialias": bool(thing.antialias),
        **_corners(thing.interpolation),
    }


def _corners(interpolation: str) -> dict[str, Any]:
    return {} if interpolation == "nearest" else {"align_corners": False}
