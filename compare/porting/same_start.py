"""What Torch's steps start from: the weights that Keras' step before has left.

So every step is one step from equal weights, however far apart the step before has left the two,
and so is the evaluation. What optimizers remember stays each side's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compare.backends.protocol import Start
from compare.data import Array
from compare.parity.layouts import BY_FEATURE, Order, channels_last, feature_orders, samples_first
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


@dataclass(frozen=True)
class SameStart:
    """Torch's steps from the second on start from Keras' weights; a `Start`.

    Attributes:
        keras: Keras' trace.
        pairs: The user's partners; see `compare.porting.matching.match`.
        torch: Torch's trace, which is being written.
    """

    keras: Trace
    pairs: Mapping[str, str] | None
    torch: SoFar

    def __call__(self, step: int, layers: Sequence[Layer]) -> Mapping[str, Array]:
        if step == 1:
            return {}
        torch = self.torch(layers)
        matched = match(self.keras.layers, torch.layers, self.pairs)
        renamed = torch.renamed(partners(matched))
        renamed = channels_last(self.keras, samples_first(self.keras, renamed))
        orders = feature_orders(self.keras, renamed)
        weights = weights_before(step, self.keras)
        return {
            f"{pair.torch['name']}/{tensor}": _ordered(weights[name], pair, tensor, orders)
            for pair in matched
            for tensor, shape in pair.torch["tensors"].items()
            if (name := f"{pair.keras['name']}/{tensor}") in weights
            and list(weights[name].shape) == shape
        }


def _ordered(weight: Array, pair: Partners, tensor: str, orders: Mapping[str, Order]) -> Array:
    """A weight of Keras' in the order in which Torch's layer has its features."""
    order = orders.get(pair.keras["name"])
    moves = order is not None and tensor in BY_FEATURE[pair.keras["kind"]]
    return weight[order] if moves else weight
