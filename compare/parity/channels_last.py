"""Images that a layer of the user's holds with channels on axis 1, where Keras has them last.

Of layers that a rule of the user's made known, nobody says which axis has the channels: there it
shows in the shapes, or in the values.
"""

from __future__ import annotations

import re
from functools import partial

import numpy as np

from compare.parity.time_first import PASSES, fits
from compare.traces import Trace, View, split

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
