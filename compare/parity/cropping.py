"""Images that one side pads before a layer, or crops behind it, and the other within it.

Keras pads and crops as its `padding="same"` says, inside the layer. A right port often pads before
the convolution, or crops what a transposed one returns: there the recorded arrays have borders.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.traces import Trace, View, split

Crop = tuple[slice, ...]

_ENDS = {"conv": "input", "depthwise_conv": "input", "conv_transpose": "output"}
"""Kind of layer → the end of it that may have borders in Torch."""

_PLACES = 4096
"""Places that are tried: more is no padding of a kernel."""

_PASSES = ("training", "evaluation", "backward")


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
            for passes in _PASSES:
                views[f"{passes}/{inner}"] = partial(_cut, crop)
    return large.viewed({key: view for key, view in views.items() if key in large})


def _cut(crop: Crop, array: NDArray[Any]) -> NDArray[Any]:
    return array[crop]


def _crop(small: NDArray[Any], large: NDArray[Any], *, zeros: bool) -> Crop | None:
    """Where the small image lies within the large one; None where it does not."""
    if small.ndim != large.ndim or small.shape == large.shape:
        return None
    nearest = min(_crops(small.shape, large.shape), key=partial(_apart, small, large), default=None)
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


def _apart(small: NDArray[Any], large: NDArray[Any], crop: Crop) -> float:
    return float(np.abs(np.subtract(small, large[crop], dtype=np.float64)).mean())
