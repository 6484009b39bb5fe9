"""The order in which images reach a dense layer: Keras flattens channels last, Torch first.

A port may move the channels before it flattens, or carry the dense layer's rows over in Torch's
order: both are right. An **order** here says which of Keras' features stands at each of Torch's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.traces import Layer, Trace, View, split

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
