"""What explains a recurrent layer, or what is taken of it: masks, and the last step of two ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy import special

from compare.parity.explain.evidence import Array, Evidence, double, explains

Weights = Mapping[str, Array]
"""`kernel`, `recurrent_kernel` and `bias`, as Keras has them."""


def final_state(kind: str, x: Array, weights: Weights) -> Array:
    """The last output, (n, units), of a recurrent layer with the usual activations.

    Args:
        kind: `"simple_rnn"`, `"lstm"` or `"gru"`.
        x: (n, time, features).
        weights: Of the layer.
    """
    h: Array = np.zeros((len(x), weights["recurrent_kernel"].shape[0]))
    c = h
    for step in np.moveaxis(x, 1, 0):
        h, c = _CELLS[kind](step, h, c, weights)
    return h


def _simple(x: Array, h: Array, c: Array, w: Weights) -> tuple[Array, Array]:
    return np.tanh(x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"]), c


def _lstm(x: Array, h: Array, c: Array, w: Weights) -> tuple[Array, Array]:
    gates = x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"]
    i, f, g, o = np.split(gates, 4, axis=-1)
    c = special.expit(f) * c + special.expit(i) * np.tanh(g)
    return special.expit(o) * np.tanh(c), c


def _gru(x: Array, h: Array, c: Array, w: Weights) -> tuple[Array, Array]:
    bias = w["bias"] if w["bias"].ndim == 2 else np.zeros((2, w["kernel"].shape[1]))
    z, r, n = np.split(x @ w["kernel"] + bias[0], 3, axis=-1)
    own = np.split(h @ w["recurrent_kernel"] + bias[1], 3, axis=-1)
    z, r = special.expit(z + own[0]), special.expit(r + own[1])
    return z * h + (1.0 - z) * np.tanh(n + r * own[2]), c


_CELLS: Mapping[str, Callable[[Array, Array, Array, Weights], tuple[Array, Array]]] = {
    "simple_rnn": _simple,
    "lstm": _lstm,
    "gru": _gru,
}


def _weights(e: Evidence, layer: str) -> Weights:
    names = ("kernel", "recurrent_kernel", "bias")
    return {n: np.asarray(e.keras.get(f"initial/{layer}/{n}", np.zeros(()))) for n in names}


@explains(4, "mask-zero")
def _mask_zero(e: Evidence) -> bool:
    """Keras leaves out the steps of token 0, and Torch computes with all of them."""
    if not any(layer["settings"].get("mask_zero") for layer in e.keras.layers):
        return False
    keras, torch = e.failed()
    if e.check.path.endswith("/output"):
        x = double(e.torch[f"training/{e.layer['name']}/input"])
        predicted = final_state(e.layer["kind"], x, _weights(e, e.layer["name"]))
    else:
        before = e.check.layer.removeprefix("between ").partition(" and ")[0]
        predicted = e.both(f"training/{before}/output")[1].mean(axis=1)
    return e.close(predicted, torch) and not e.close(predicted, keras)


@explains(4, "bidirectional-last-step")
def _last_step(e: Evidence) -> bool:
    """Of the backward direction Torch takes the state after one step, at the end."""
    before = e.check.layer.removeprefix("between ").partition(" and ")[0]
    kinds = {layer["name"]: layer["kind"] for layer in e.keras.layers}
    kind = kinds[before].removeprefix("bidirectional_")
    if kind == kinds[before]:
        return False
    keras, torch = e.failed()
    units = keras.shape[-1] // 2
    x = double(e.keras[f"training/{before}/input"])[:, -1:]
    predicted = final_state(kind, x, _weights(e, f"{before}/backward"))
    forward = e.close(keras[:, :units], torch[:, :units])
    return forward and e.close(predicted, torch[:, units:])
