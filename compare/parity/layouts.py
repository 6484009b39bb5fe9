"""The order in which images reach a dense layer: Keras flattens channels last, Torch first.

A port may move the channels before it flattens, or carry the dense layer's rows over in Torch's
order: both are right. An **order** here says which of Keras' features stands at each of Torch's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.trace import Layer, Trace, View, split

Order = NDArray[np.int64]
Arrays = Mapping[str, NDArray[Any]]

BY_FEATURE: Mapping[str, Sequence[str]] = {
    "dense": ("kernel",),
    "batch_norm": ("gamma", "beta", "moving_mean", "moving_variance"),
    "layer_norm": ("gamma", "beta"),
}
"""Kind of layer → its tensors that have a feature of its input at each place of their axis 0."""

_PASSES = ("training", "evaluation", "backward")


def orders(features: int, channels: Sequence[int]) -> Iterator[Order]:
    """Every order in which a flattened image of so many features may stand.

    Args:
        features: Features of the dense layer.
        channels: Numbers of channels that the image may have where it is only a part of the
            features, first or last; where it is all of them, every number is tried.
    """
    for count in range(2, features // 2 + 1):
        if features % count == 0:
            yield _order(features, 0, features, count)
    for count in dict.fromkeys(channels):
        for length in range(features - 1, 2 * count - 1, -1):
            if count > 1 and length % count == 0:
                yield _order(features, 0, length, count)
                yield _order(features, features - length, length, count)


def _order(features: int, start: int, length: int, channels: int) -> Order:
    order = np.arange(features)
    block = order[start : start + length].reshape(-1, channels)
    order[start : start + length] = block.T.ravel()
    return order


def nearest(keras: NDArray[Any], torch: NDArray[Any], channels: Sequence[int]) -> Order | None:
    """The order by which a dense layer's inputs agree best; None where Keras' own does.

    Args:
        keras: What entered the layer in Keras, (n, features).
        torch: What entered it in Torch for the same samples.
        channels: As in `orders`.
    """
    if keras.shape != torch.shape or keras.ndim != 2:
        return None
    apart = _distance(keras, torch)
    found = min(
        orders(keras.shape[1], channels),
        key=lambda order: _distance(keras[:, order], torch),
        default=None,
    )
    # Half as far is clearly nearer, even where an earlier difference blurs both.
    if found is None or not _distance(keras[:, found], torch) < 0.5 * apart:
        return None
    return found


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).mean())


def in_keras_order(keras: Trace, torch: Trace) -> Trace:
    """Torch's trace, with layers over a flattened image in Torch's order read in Keras'.

    Only where Torch's initial tensors are Keras' in such an order, to the bit: what differs
    otherwise is left as it is, to be found.

    Args:
        keras: Keras' trace.
        torch: Torch's, with Keras' layer names.
    """
    views: dict[str, View] = {}
    for layer in keras.layers:
        order = _order_of(keras, torch, layer)
        if order is not None:
            views |= _reading(torch, layer, np.argsort(order))
    return torch.viewed(views)


def _order_of(keras: Trace, torch: Trace, layer: Layer) -> Order | None:
    name, tensors = layer["name"], BY_FEATURE.get(layer["kind"], ())
    keys = [f"initial/{name}/{tensor}" for tensor in tensors]
    entered = f"training/{name}/input"
    keys = [key for key in keys if key in keras and key in torch]
    if entered not in keras or keras[entered].ndim != 2 or not keys:
        return None
    sides = [(np.asarray(keras[key]), np.asarray(torch[key])) for key in keys]
    if any(ours.shape != theirs.shape for ours, theirs in sides):
        return None
    channels = channels_before(keras, name)
    if layer["kind"] == "dense":
        every = orders(len(sides[0][0]), channels)
        fits = (order for order in every if _permuted(sides, order))
        return None if np.array_equal(*sides[0]) else next(fits, None)
    # New norms are alike in any order: what enters them tells.
    order = nearest(keras[entered], torch.get(entered, np.empty(0)), channels)
    return order if order is not None and _permuted(sides, order) else None


def _permuted(sides: Sequence[tuple[NDArray[Any], NDArray[Any]]], order: Order) -> bool:
    """Whether Torch's tensors are Keras' in another order."""
    # A column tells most orders from the right one, at a small part of the price.
    columns = [(a.reshape(len(a), -1)[:, :1], b.reshape(len(b), -1)[:, :1]) for a, b in sides]
    return all(np.array_equal(a[order], b) for some in (columns, sides) for a, b in some)


def _reading(torch: Trace, layer: Layer, order: Order) -> dict[str, View]:
    """Which arrays of a layer have its features along an axis, and which."""
    name, ends = layer["name"], ["input"]
    if layer["kind"] != "dense":
        ends.append("output")
    views: dict[str, View] = {}
    for key in torch:
        group, inner = split(key)
        if group in _PASSES and inner in [f"{name}/{end}" for end in ends]:
            views[key] = partial(np.take, indices=order, axis=-1)
        elif group and any(
            f"{inner}/".startswith(f"{name}/{tensor}/") for tensor in BY_FEATURE[layer["kind"]]
        ):
            views[key] = partial(np.take, indices=order, axis=0)
    return views


def channels_before(keras: Arrays, name: str) -> list[int]:
    """The numbers of channels that images have on their way to a layer, the nearest first.

    Args:
        keras: Keras' trace.
        name: The layer.
    """
    found: list[int] = []
    for key in keras:
        if key == f"training/{name}/input":
            break
        image = key.startswith(("step/1/data/x", "training/"))
        if image and keras[key].ndim > 2:
            found.append(keras[key].shape[-1])
    return list(dict.fromkeys(found[::-1]))


_KINDS = ("dense", "embedding", "layer_norm")
PASSES = ("training", "evaluation", "backward")


def samples_first(keras: Trace, torch: Trace) -> Trace:
    """Torch's trace, with sequences read samples first where Torch holds time first.

    Args:
        keras: Keras' trace.
        torch: Torch's, with Keras' layer names.
    """
    kinds = {layer["name"]: layer["kind"] for layer in keras.layers}
    swap: View = partial(np.swapaxes, axis1=0, axis2=1)
    views: dict[str, View] = {}
    for key in torch:
        group, inner = split(key)
        name = inner.rpartition("/")[0].partition("#")[0]
        known = group == "training" and key in keras and kinds.get(name) in _KINDS
        if known and _swapped(keras[key], torch[key]):
            views |= {f"{passes}/{inner}": swap for passes in PASSES}
    return torch.viewed({key: view for key, view in views.items() if key in torch})


def _swapped(keras: NDArray[Any], torch: NDArray[Any]) -> bool:
    if keras.ndim < 2 or keras.ndim != torch.ndim:
        return False
    return fits(np.swapaxes(torch, 0, 1), keras, instead_of=torch)


def fits(read: NDArray[Any], keras: NDArray[Any], *, instead_of: NDArray[Any]) -> bool:
    """Whether an array agrees better in another order of its axes.

    Args:
        read: In the other order.
        keras: What it should be.
        instead_of: In its own order.
    """
    if keras.shape != read.shape:
        return False
    # Axes of the same length: only the values can tell.
    same = keras.shape == instead_of.shape
    return not same or _apart(keras, read) < 0.01 * _apart(keras, instead_of)


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(np.subtract(one, other, dtype=np.float64)).mean())


_BUILT_IN = (
    *("dense", "conv", "depthwise_conv", "conv_transpose", "embedding", "attention"),
    *("batch_norm", "layer_norm", "group_norm", "simple_rnn", "lstm", "gru"),
    *("bidirectional_simple_rnn", "bidirectional_lstm", "bidirectional_gru"),
)
"""Kinds that are recorded in Keras' layout."""

_PREDICTION = re.compile(r"(step/1/)?prediction(/|$)")
"""What a model returns: such a layer may be its last."""


def channels_last(keras: Trace, torch: Trace) -> Trace:
    """Torch's trace, with what the user's own layers receive and return read channels last.

    Args:
        keras: Keras' trace.
        torch: Torch's, with Keras' layer names.
    """
    own = {layer["name"] for layer in keras.layers if layer["kind"] not in _BUILT_IN}
    last: View = partial(np.moveaxis, source=1, destination=-1)
    views: dict[str, View] = {}
    for key in torch:
        group, inner = split(key)
        name = inner.rpartition("/")[0].partition("#")[0]
        passed = group == "training" and name in own
        returned = bool(own) and _PREDICTION.match(key) is not None
        if not (passed or returned) or key not in keras or torch[key].ndim < 3:
            continue
        if fits(last(torch[key]), keras[key], instead_of=torch[key]):
            views |= {f"{passes}/{inner}": last for passes in PASSES} if passed else {key: last}
    return torch.viewed({key: view for key, view in views.items() if key in torch})


Crop = tuple[slice, ...]

_ENDS = {"conv": "input", "depthwise_conv": "input", "conv_transpose": "output"}
"""Kind of layer → the end of it that may have borders in Torch."""

_PLACES = 4096
"""Places that are tried: more is no padding of a kernel."""

_PASSES_cropping = ("training", "evaluation", "backward")


def without_borders(keras: Trace, torch: Trace) -> tuple[Trace, Trace]:
    """Both traces, with the borders cut off that one pads before, or crops behind, a layer.

    What a convolution receives beside the other side's image must be zeros; what a transposed
    convolution returns beside it is for what follows to cut off.

    Args:
        keras: Keras' trace.
        torch: Torch's, with Keras' layer names.
    """
    return _cut_to(torch, keras), _cut_to(keras, torch)


def _cut_to(small: Trace, large: Trace) -> Trace:
    """The larger side's trace, as large as the smaller's."""
    ends = {layer["name"]: _ENDS.get(layer["kind"]) for layer in small.layers}
    views: dict[str, View] = {}
    for key in large:
        group, inner = split(key)
        name, _, end = inner.rpartition("/")
        if group != "training" or key not in small or ends.get(name.partition("#")[0]) != end:
            continue
        crop = _crop(small[key], large[key], zeros=end == "input")
        if crop is not None:
            for passes in _PASSES_cropping:
                views[f"{passes}/{inner}"] = partial(_cut, crop)
    return large.viewed({key: view for key, view in views.items() if key in large})


def _cut(crop: Crop, array: NDArray[Any]) -> NDArray[Any]:
    return array[crop]


def _crop(small: NDArray[Any], large: NDArray[Any], *, zeros: bool) -> Crop | None:
    """Where the small image lies within the large one; None where it does not."""
    if small.ndim != large.ndim or small.shape == large.shape:
        return None
    nearest = min(
        _crops(small.shape, large.shape), key=partial(_apart_cropping, small, large), default=None
    )
    if nearest is None or not zeros:
        return nearest
    border = np.ones(large.shape, dtype=bool)
    border[nearest] = False
    return None if np.any(np.asarray(large)[border]) else nearest


def _crops(small: tuple[int, ...], large: tuple[int, ...]) -> Iterator[Crop]:
    """Every place of an image within a larger one; samples and channels are not cut."""
    if small[0] != large[0] or small[-1] != large[-1]:
        return
    spare = [b - a for a, b in zip(small[1:-1], large[1:-1], strict=True)]
    if math.prod(max(n + 1, 0) for n in spare) > _PLACES:
        return
    for starts in product(*(range(n + 1) for n in spare)):
        inner = [slice(at, at + size) for at, size in zip(starts, small[1:-1], strict=True)]
        yield (slice(None), *inner, slice(None))


def _apart_cropping(small: NDArray[Any], large: NDArray[Any], crop: Crop) -> float:
    return float(np.abs(np.subtract(small, large[crop], dtype=np.float64)).mean())
