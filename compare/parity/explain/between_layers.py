"""What explains what differs behind a pooling, a resize or a leaky ReLU between two layers.

What runs between two layers with weights is computed again: with Keras' settings, which must give
what Keras has, and with one operation set otherwise, which must give what Torch has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from scipy import special

from compare.conventions import Numbers
from compare.parity.explain.convolutions import (
    Padding,
    Window,
    at_every_place,
    keras_padding,
    windows,
)
from compare.parity.explain.evidence import Array, Evidence, double, explains
from compare.parity.stretches import stretches
from compare.trace import Operation, split

Function = Callable[[Array], Array]
Settings = Mapping[str, Any]
Names = Mapping[str, Numbers]

Hypothesis = tuple[Names, Function]
"""The conventions that one names, and what Torch then computes."""


@explains(9)  # A module may do something else in evaluation.
@explains(4)
def _set_otherwise(e: Evidence) -> Names:
    """An operation between two layers, or behind the last of them, is set otherwise."""
    mode = split(e.check.path)[0] or ("training" if e.check.rung == 4 else "evaluation")
    at_the_end = e.check.layer == "output"
    before, behind = (e.keras.layers[-1]["name"], "") if at_the_end else e.ends
    start = f"{mode}/{before}/output" if before else "step/1/data/x"
    stretch = stretches(e.operations)[before, behind]
    keras, _ = e.failed()
    joined = bool(stretch) and stretch[-1]["kind"] == "concatenate"
    stretch = stretch[:-1] if joined else stretch
    functions = [_function(e, operation, mode) for operation in stretch]
    computed = _composed(functions, double(e.keras[start]))
    if joined:
        functions.append(_joined(e, computed, keras))
    elif not e.known(computed, keras):
        return {}
    for at, operation in enumerate(stretch):
        x = _composed(functions[:at], double(e.torch[start]))
        for names, function in _hypotheses(operation, x):
            if e.holds(_composed([function, *functions[at + 1 :]], x)):
                return names
    return {}


def _joined(e: Evidence, part: Array, whole: Array) -> Function:
    """What puts channels in the place of those that Keras has joined with others."""
    width, channels = part.shape[-1], whole.shape[-1]
    begins = range(channels - width + 1)
    at = next(n for n in begins if e.known(part, whole[..., n : n + width]))
    return lambda x: np.concatenate([whole[..., :at], x, whole[..., at + width :]], axis=-1)


def _composed(functions: Sequence[Function], x: Array) -> Array:
    for function in functions:
        x = function(x)
    return x


def _function(e: Evidence, operation: Operation, mode: str) -> Function:
    """What an operation does in Keras; a LookupError where that is not known."""
    kind, settings = operation["kind"], operation["settings"]
    if kind in ("average_pool", "max_pool"):
        padding = settings["padding"]
        return lambda x: _pooled(
            x, operation, keras_padding(_pool_windows(x, settings), padding), None
        )
    if kind == "upsample":
        return lambda x: _resized(x, settings, settings["interpolation"])
    if kind.endswith("dropout"):
        return _dropped(e, operation["name"], mode)
    if kind == "leaky_relu":
        return partial(leaky, slope=settings["negative_slope"])
    if kind == "elu":
        alpha = settings.get("alpha", 1.0)
        return lambda x: np.where(x > 0.0, x, alpha * np.expm1(x))
    return _FUNCTIONS[kind]


def leaky(x: Array, slope: float) -> Array:
    """A leaky ReLU."""
    return np.where(x > 0.0, x, slope * x)


_SLOPES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.3, 0.5)
"""Slopes of leaky ReLUs that people write, Torch's default first."""


def _over_pixels(reduce: Callable[..., Any]) -> Function:
    return lambda x: np.asarray(reduce(x, axis=tuple(range(1, x.ndim - 1))))


_FUNCTIONS: Mapping[str, Function] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "softplus": lambda x: np.logaddexp(x, 0.0),
    "silu": lambda x: x * special.expit(x),
    "gelu": lambda x: x * special.ndtr(x),
    "flatten": lambda x: x.reshape(len(x), -1),
    **{f"globalaveragepooling{n}d": _over_pixels(np.mean) for n in (1, 2, 3)},
    **{f"globalmaxpooling{n}d": _over_pixels(np.max) for n in (1, 2, 3)},
}
"""Kind of an operation → what it does. A setting that is left out here shows: then what is computed
with Keras' settings is not what Keras has."""


def _dropped(e: Evidence, name: str, mode: str) -> Function:
    """What a dropout multiplies by in the first step, as it was recorded of Keras."""
    drawn = json.loads(str(e.keras["draws"]))["passes"]["1"] if "draws" in e.keras else []
    places = [n for n, draw in enumerate(drawn) if draw["path"].rpartition("/")[2] == name]
    if mode != "training" or not places:
        return lambda x: x
    (place,) = places
    entered, returned = (double(e.keras[f"draws/1/{place}/{x}"]) for x in ("entered", "returned"))
    return lambda x: np.where(x == 0.0, 0.0, x * (returned / entered))


def _hypotheses(operation: Operation, x: Array) -> Iterator[Hypothesis]:
    """What Torch may compute of what an operation receives, and what that is called."""
    settings = operation["settings"]
    if operation["kind"] in ("average_pool", "max_pool") and settings["padding"] == "same":
        yield from _pooled_otherwise(operation, x)
    if operation["kind"] == "leaky_relu":
        for slope in _SLOPES:
            numbers = {"keras": settings["negative_slope"], "torch": slope}
            yield {"leaky-relu-slope": numbers}, partial(leaky, slope=slope)
    if operation["kind"] == "upsample" and settings["interpolation"] == "bilinear":
        yield {"align-corners": {}}, partial(_resized, settings=settings, way="corners")
        if not settings.get("antialias"):
            yield {"resize-antialias": {}}, partial(_resized, settings=settings, way="smoothed")


def _pool_windows(x: Array, settings: Settings) -> list[Window]:
    return windows(x, settings["pool_size"], settings["strides"])


def _pooled(x: Array, operation: Operation, padding: Padding, pads: Any) -> Array:
    """What a pooling returns.

    Args:
        x: (n, …, channels).
        operation: With Keras' settings.
        padding: Along every axis.
        pads: Of every axis, how many pixels before and behind count in an average; None for none.
    """
    average = operation["kind"] == "average_pool"
    along = _pool_windows(x, operation["settings"])
    fill = 0.0 if average else -np.inf
    offsets = np.ndindex(*operation["settings"]["pool_size"])
    seen = (at_every_place(x, along, offset, padding, fill) for offset in offsets)
    if not average:
        return np.asarray(np.max(list(seen), axis=0))
    counts: Array = np.ones(())
    for window, (begin, size), (before, behind) in zip(
        along, padding, pads or [(0, 0)] * len(along), strict=True
    ):
        starts = np.arange(size) * window.stride - begin
        inside = np.minimum(starts + window.reach, window.length + behind)
        counts = np.multiply.outer(counts, inside - np.maximum(starts, -before))
    return np.asarray(sum(seen) / counts[..., None])


def _pooled_otherwise(operation: Operation, x: Array) -> Iterator[Hypothesis]:
    """A pooling that counts what is padded, or pads as much before an image as behind it."""
    settings = operation["settings"]
    along = _pool_windows(x, settings)
    keras = keras_padding(along, settings["padding"])
    own = [(b, w.needed(b, size)) for w, (b, size) in zip(along, keras, strict=True)]
    # Torch pads half a window at most.
    alike = product(*(range(window.reach // 2 + 1) for window in along))
    ways = [own, *([(p, p) for p in way] for way in alike)]
    counted = (False, True) if operation["kind"] == "average_pool" else (False,)
    strided = any(window.stride > 1 for window in along)
    for pads, counts in product(ways, counted):
        padding = tuple((b, w.places(b, e)) for w, (b, e) in zip(along, pads, strict=True))
        names: dict[str, Numbers] = {}
        if counts:
            names["average-pool-same"] = {}
        if padding != keras:
            names["same-padding-stride" if strided else "same-padding-size"] = _padded(
                own, operation["kind"]
            )
        if names and np.any(pads):
            yield (
                names,
                partial(_pooled, operation=operation, padding=padding, pads=counts and pads),
            )


def _padded(pads: Sequence[tuple[int, int]], kind: str) -> Numbers:
    """How to pad before a pooling as `same` does; the last axis comes first."""
    amounts = tuple(amount for pair in reversed(pads) for amount in pair)
    if kind == "max_pool":
        return {"padded": f"`F.pad(x, {amounts}, value=-torch.inf)`"}
    return {"padded": f"`F.pad(x, {amounts})`, divided by what that makes of ones"}


def _resized(x: Array, settings: Settings, way: str) -> Array:
    """Images, (n, …, channels), in another size."""
    sizes = settings.get("output_size") or [
        n * factor for n, factor in zip(x.shape[1:-1], settings["size"], strict=True)
    ]
    for axis, size in enumerate(sizes, start=1):
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ _WAYS[way](x.shape[axis], size).T, -1, axis)
    return x


def _between_pixels(places: Array, length: int) -> Array:
    """The shares of the two pixels nearest to each place, (places, pixels)."""
    places = np.clip(places, 0.0, length - 1.0)[:, None]
    return np.asarray(np.maximum(1.0 - np.abs(places - np.arange(length)), 0.0))


def _middles(length: int, size: int) -> Array:
    """Where the middles of so many new pixels lie among the old ones' middles."""
    return (np.arange(size) + 0.5) * (length / size) - 0.5


def _corners(length: int, size: int) -> Array:
    return _between_pixels(np.linspace(0.0, length - 1.0, size), length)


def _smoothed(length: int, size: int) -> Array:
    """Where an image shrinks, each new pixel is an average over a triangle as wide as it is."""
    wide = max(length / size, 1.0)
    shares = np.maximum(
        1.0 - np.abs(_middles(length, size)[:, None] - np.arange(length)) / wide, 0.0
    )
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _nearest(length: int, size: int) -> Array:
    """The pixel that a new one's middle lies in."""
    middles = (np.arange(size) + 0.5) * (length / size)
    return np.asarray(np.eye(length)[middles.astype(int)])


_WAYS: Mapping[str, Callable[[int, int], Array]] = {
    "bilinear": lambda length, size: _between_pixels(_middles(length, size), length),
    "corners": _corners,
    "smoothed": _smoothed,
    "nearest": _nearest,
}
"""Way to resize → a matrix, (new pixels, old pixels)."""
