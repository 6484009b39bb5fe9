"""What Torch's steps start from: the weights that Keras' step before has left.

So every step is one step from equal weights, however far apart the step before has left the two,
and so is the evaluation. What optimizers remember stays each side's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from compare.backends.protocol import Start
from compare.data import Array
from compare.parity.layouts import BY_FEATURE, Order, feature_orders
from compare.porting.matching import Partners, match, partners
from compare.trace import Layer, Trace

SoFar = Callable[[Sequence[Layer]], Trace]
"""What was recorded of a side so far, with its layers."""

Starting = Callable[[SoFar], Start]
"""Makes what a side's steps start from, which may depend on what is recorded of it meanwhile."""


LEFT = re.compile(r"step/(\d+)/(?:weights|statistics)/")
"""The names of weights and moving statistics that a step has left."""


def weights_before(step: int, trace: Mapping[str, Array]) -> dict[str, Array]:
    """`<layer>/<tensor>` → weight or moving statistic, as the step before has left it.

    Args:
        step: Counted from 2; the evaluation counts as one more than the last.
        trace: A side's trace, or what a step leaves of it.
    """
    left = {key: match for key in trace if (match := LEFT.match(key))}
    return {
        key[match.end() :]: np.asarray(trace[key])
        for key, match in left.items()
        if int(match[1]) == step - 1
    }


class SameStart:
    """Torch's steps from the second on start from Keras' weights; a `Start`.

    Args:
        keras: Keras' trace.
        pairs: The user's partners; see `compare.porting.matching.match`.
        torch: Torch's trace, which is being written.
    """

    def __init__(self, keras: Trace, pairs: Mapping[str, str] | None, torch: SoFar) -> None:
        self._keras, self._pairs, self._torch = keras, pairs, torch
        self._sources: dict[str, tuple[str, Order | None]] = {}

    def __call__(self, step: int, layers: Sequence[Layer]) -> Mapping[str, Array]:
        if step == 1:
            return {}
        # Which layers are partners, and how their features stand, is known from the first step.
        self._sources = self._sources or _sources(self._keras, self._torch(layers), self._pairs)
        weights = weights_before(step, self._keras)
        return {
            name: weights[source] if order is None else weights[source][order]
            for name, (source, order) in self._sources.items()
        }


def _sources(
    keras: Trace, torch: Trace, pairs: Mapping[str, str] | None
) -> dict[str, tuple[str, Order | None]]:
    """Torch's name of a tensor → Keras', and the order of features in which Torch has it."""
    matched = match(keras.layers, torch.layers, pairs)
    orders = feature_orders(keras, torch.renamed(partners(matched)))
    return {
        f"{pair.torch['name']}/{tensor}": (
            f"{pair.keras['name']}/{tensor}",
            orders.get(pair.keras["name"]) if tensor in _by_feature(pair) else None,
        )
        for pair in matched
        for tensor, shape in pair.torch["tensors"].items()
        if pair.keras["tensors"].get(tensor) == shape
    }


def _by_feature(pair: Partners) -> Sequence[str]:
    return BY_FEATURE.get(pair.keras["kind"], ())
