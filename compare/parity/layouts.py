"""Torch's arrays read in Keras' layout, where a right port may hold them in another.

Four things may differ without a mistake: sequences with time before samples, images of a user's own
layers with channels first, flattened images in Torch's order, and borders that one side pads or
crops outside of a layer. Each is read in Keras' layout only where the arrays prove it, so that what
is wrong stays as it is, to be found. All functions take Keras' trace, and Torch's with Keras' layer
names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.trace import Layer, Trace, View, split

Order = NDArray[np.int64]
"""Which of Keras' features stands at each of Torch's."""

Arrays = Mapping[str, NDArray[Any]]

Reading = Callable[[str, str, str], View | None]
"""How an array is read, if not as it stands: from its name in the trace, its layer (empty for what
the model returns; `layer#2` for a second run), and which end of the layer it is of."""

_PASSES = ("training", "evaluation", "backward")

_PREDICTION = re.compile(r"(step/1/)?prediction(/|$)")


def _read(trace: Trace, other: Trace, reading: Reading) -> Trace:
    """A trace with some arrays read in the other's layout.

    What is read of an end of a layer in training is read of it in every pass.
    """
    views: dict[str, View] = {}
    for key in trace:
        group, inner = split(key)
        passed, returned = group == "training", _PREDICTION.match(key)
        if key in other and (passed or returned):
            layer, _, end = inner.rpartition("/") if passed else ("", "", "")
            if (view := reading(key, layer, end)) is not None:
                keys = [f"{passes}/{inner}" for passes in _PASSES] if passed else [key]
                views |= {each: view for each in keys if each in trace}
    return trace.viewed(views)


def _run_of(layer: str) -> str:
    """The layer of which `layer#2` is a second run."""
    return layer.partition("#")[0]


def _distance(keras: NDArray[Any], torch: NDArray[Any]) -> float:
    return float(np.abs(np.subtract(keras, torch, dtype=np.float64)).mean())


def _fits_better(view: View, keras: NDArray[Any], torch: NDArray[Any]) -> bool:
    """Whether Torch's array agrees with Keras' in another order of its axes, and not in its own."""
    moved = view(torch)
    if keras.shape != moved.shape:
        return False
    # Axes of the same length: only the values can tell.
    same = keras.shape == torch.shape
    return not same or _distance(keras, moved) < 0.01 * _distance(keras, torch)


_ALONG_TIME = ("dense", "embedding", "layer_norm")
"""Kinds that do the same at every time step, wherever the axis of time is."""


def samples_first(keras: Trace, torch: Trace) -> Trace:
    """Torch's trace, with sequences read samples first where Torch holds time first."""
    kinds = {layer["name"]: layer["kind"] for layer in keras.layers}
    swap: View = partial(np.swapaxes, axis1=0, axis2=1)

    def reading(key: str, layer: str, end: str) -> View | None:
        if kinds.get(_run_of(layer)) not in _ALONG_TIME:
            return None
        ours, theirs = keras[key], torch[key]
        fits = 2 <= ours.ndim == theirs.ndim and _fits_better(swap, ours, theirs)
        return swap if fits else None

    return _read(torch, keras, reading)


_BUILT_IN = (
    *("dense", "conv", "depthwise_conv", "conv_transpose", "embedding", "attention"),
    *("batch_norm", "group_norm", "simple_rnn", "lstm", "gru"),
    *("bidirectional_simple_rnn", "bidirectional_lstm", "bidirectional_gru"),
)
"""Kinds that are recorded in Keras' layout. A layer normalization of the last axis may be one that
moves the channels there by itself."""


def channels_last(keras: Trace, torch: Trace) -> Trace:
    """Torch's trace, with what the user's own layers receive and return read channels last.

    So is what the model returns: such a layer may be its last.
    """
    own = {layer["name"] for layer in keras.layers if layer["kind"] not in _BUILT_IN}
    last: View = partial(np.moveaxis, source=1, destination=-1)

    def reading(key: str, layer: str, end: str) -> View | None:
        if not own or (layer and _run_of(layer) not in own):
            return None
        theirs = torch[key]
        return last if theirs.ndim >= 3 and _fits_better(last, keras[key], theirs) else None

    return _read(torch, keras, reading)


BY_FEATURE: Mapping[str, Sequence[str]] = {
    "dense": ("kernel",),
    "batch_norm": ("gamma", "beta", "moving_mean", "moving_variance"),
    "layer_norm": ("gamma", "beta"),
}
"""Kind of layer → its tensors that have a feature of its input at each place of their axis 0."""


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
    distances = ((_distance(keras[:, o], torch), o) for o in orders(keras.shape[1], channels))
    distance, order = min(distances, key=itemgetter(0), default=(math.inf, None))
    # Half as far is clearly nearer, even where an earlier difference blurs both.
    return order if distance < 0.5 * _distance(keras, torch) else None


def channels_before(keras: Arrays, name: str) -> list[int]:
    """The numbers of channels that images have on their way to a layer, the nearest first.

    Args:
        keras: Keras' trace.
        name: The layer.
    """
    channels: list[int] = []
    for key in keras:
        if key == f"training/{name}/input":
            break
        image = key.startswith(("step/1/data/x", "training/"))
        if image and keras[key].ndim > 2:
            channels.append(keras[key].shape[-1])
    return list(dict.fromkeys(channels[::-1]))


def in_keras_order(keras: Trace, torch: Trace) -> Trace:
    """Torch's trace, with layers over a flattened image in Torch's order read in Keras'.

    A port may move the channels before it flattens, or carry the dense layer's rows over in Torch's
    order: both are right. Only where Torch's initial tensors are Keras' in such an order, to the
    bit, are they read so.
    """
    kinds = {layer["name"]: layer["kind"] for layer in keras.layers}
    orders = feature_orders(keras, torch)
    places = {name: np.argsort(order) for name, order in orders.items()}

    def reading(key: str, layer: str, end: str) -> View | None:
        ends = ("input",) if kinds.get(layer) == "dense" else ("input", "output")
        if layer not in places or end not in ends or torch[key].shape[-1] != len(places[layer]):
            return None
        return partial(np.take, indices=places[layer], axis=-1)

    tensors: dict[str, View] = {}
    for name, order in places.items():
        starts = tuple(f"{name}/{tensor}/" for tensor in BY_FEATURE[kinds[name]])
        for key in torch:
            group, inner = split(key)
            held = group and group not in _PASSES and not group.endswith("/rule")
            if held and f"{inner}/".startswith(starts):
                tensors[key] = partial(np.take, indices=order, axis=0)
    return _read(torch, keras, reading).viewed(tensors)


def feature_orders(keras: Trace, torch: Trace) -> dict[str, Order]:
    """Layer → the order in which Torch holds its features, for those where it is not Keras'."""
    orders = ((layer["name"], _order_of(keras, torch, layer)) for layer in keras.layers)
    return {name: order for name, order in orders if order is not None}


def _order_of(keras: Trace, torch: Trace, layer: Layer) -> Order | None:
    """The order in which Torch holds a layer's features, where it is not Keras'."""
    name, entered = layer["name"], f"training/{layer['name']}/input"
    keys = [f"initial/{name}/{tensor}" for tensor in BY_FEATURE.get(layer["kind"], ())]
    keys = [key for key in keys if key in keras and key in torch]
    if entered not in keras or keras[entered].ndim != 2 or not keys:
        return None
    sides = [(np.asarray(keras[key]), np.asarray(torch[key])) for key in keys]
    if any(ours.shape != theirs.shape for ours, theirs in sides):
        return None
    channels = channels_before(keras, name)
    if layer["kind"] == "dense":
        every = orders(len(sides[0][0]), channels)
        fitting = (order for order in every if _permuted(sides, order))
        return None if np.array_equal(*sides[0]) else next(fitting, None)
    # New norms are alike in any order: what enters them tells.
    order = nearest(keras[entered], torch.get(entered, np.empty(0)), channels)
    return order if order is not None and _permuted(sides, order) else None


def _permuted(sides: Sequence[tuple[NDArray[Any], NDArray[Any]]], order: Order) -> bool:
    """Whether Torch's tensors are Keras' in another order."""
    # A column tells most orders from the right one, at a small part of the price.
    columns = [(a.reshape(len(a), -1)[:, :1], b.reshape(len(b), -1)[:, :1]) for a, b in sides]
    return all(np.array_equal(a[order], b) for some in (columns, sides) for a, b in some)


Crop = tuple[slice, ...]

_ENDS = {"conv": "input", "depthwise_conv": "input", "conv_transpose": "output"}
"""Kind of layer → the end of it that may have borders on one side."""

_PLACES = 4096
"""Places that are tried: more is no padding of a kernel."""


def without_borders(keras: Trace, torch: Trace) -> tuple[Trace, Trace]:
    """Both traces, with the borders cut off that one pads before, or crops behind, a layer.

    What a convolution receives beside the other side's image must be zeros; what a transposed
    convolution returns beside it is for what follows to cut off.
    """
    return _cut_to(torch, keras), _cut_to(keras, torch)


def _cut_to(small: Trace, large: Trace) -> Trace:
    """The larger side's trace, as large as the smaller's."""
    ends = {layer["name"]: _ENDS.get(layer["kind"]) for layer in small.layers}

    def reading(key: str, layer: str, end: str) -> View | None:
        if ends.get(_run_of(layer)) != end:
            return None
        crop = _crop(small[key], large[key], zeros=end == "input")
        return None if crop is None else itemgetter(crop)

    return _read(large, small, reading)


def _crop(small: NDArray[Any], large: NDArray[Any], *, zeros: bool) -> Crop | None:
    """Where the small image lies within the large one; None where it does not."""
    if small.ndim != large.ndim or small.shape == large.shape:
        return None
    crops = _crops(small.shape, large.shape)
    place = min(crops, key=lambda crop: _distance(small, large[crop]), default=None)
    if place is None or not zeros:
        return place
    border = np.ones(large.shape, dtype=bool)
    border[place] = False
    return None if np.any(np.asarray(large)[border]) else place


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


_RECURRENT = re.compile(r"(bidirectional_)?(simple_rnn|lstm|gru)$")


def without_padding(keras: Trace, torch: Trace) -> Trace:
    """Keras' trace, with zeros for the steps that Torch's recurrent layers do not see.

    A packed sequence has zeros where a masked one goes on with what it had. Only steps at the end
    of a sequence that are all zeros in Torch are taken for padding: what follows tells whether they
    were.
    """
    kinds = {layer["name"]: layer["kind"] for layer in keras.layers}

    def reading(key: str, layer: str, end: str) -> View | None:
        if not _RECURRENT.match(kinds.get(_run_of(layer), "")):
            return None
        ours, theirs = keras[key], torch[key]
        if ours.ndim != 3 or ours.shape != theirs.shape:
            return None
        seen = np.flip(np.logical_or.accumulate(np.flip((theirs != 0).any(-1), 1), axis=1), 1)
        if seen.all() or not seen.any(axis=1).all():
            return None
        return lambda array: np.where(seen[..., None], array, 0.0)

    return _read(keras, torch, reading)
