"""Sequences that one side holds with time before samples, where a layer does not mind.

A recurrent layer says which of its axes is time. A dense layer or an embedding works on either
order: there it shows in the shapes, or in the values.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.traces import Trace, View, split

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
