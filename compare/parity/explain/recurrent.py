"""What explains a recurrent layer, or what is taken of it: masks, and the last step of two ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy import special

from compare.parity.explain.evidence import Array, Evidence, double, explains

Weights = Mapping[str, Array]
"""`kernel`, `recurrent_kernel` and `bias`, as Keras has them."""


def states(kind: str, x: Array, weights: Weights) -> Array:
    """The outputs, (n, time, units), of a recurrent layer with the usual activations.

    Args:
        kind: `"simple_rnn"`, `"lstm"` or `"gru"`.
        x: (n, time, features).
        weights: Of the layer.
    """
    h: Array = np.zeros((len(x), weights["recurrent_kernel"].shape[0]))
    c, every = h, []
    for step in np.moveaxis(x, 1, 0):
        h, c = _CELLS[kind](step, h, c, weights)
        every.append(h)
    return np.stack(every, axis=1)


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
    """Keras leaves out the steps of token 0, and Torch computes with some or all of them."""
    if not any(layer["settings"].get("mask_zero") for layer in e.keras.layers):
        return False
    keras, torch = e.failed()
    return any(e.close(p, torch) and not e.close(p, keras) for p in _with_padding(e))


def _with_padding(e: Evidence) -> Iterator[Array]:
    """What a recurrent layer returns that sees all steps, or what is taken of those behind one."""
    kinds = {layer["name"]: layer["kind"] for layer in e.keras.layers}
    own = e.check.path.endswith("/output")
    layer = e.layer["name"] if own else e.ends[0]
    if kinds[layer].removeprefix("bidirectional_") not in _CELLS:
        yield from _taken(e.both(f"training/{layer}/output")[1])
        return
    x = double(e.torch[f"training/{layer}/input"])
    tokens = e.keras["step/1/data/x"]
    lengths = [np.full(len(x), x.shape[1])]
    if not own and tokens.shape == x.shape[:2]:
        lengths.append((tokens != 0).sum(axis=1))  # Packed: what is behind them is zero.
    for length in lengths:
        forward, *backward = _directions(e, layer, kinds[layer], x, length)
        if own:
            # The backward direction ends at the first step.
            ends = [forward[:, -1], *(way[:, 0] for way in backward)]
            yield np.concatenate(ends, axis=-1)
        else:
            yield from _taken(np.concatenate([forward, *backward], axis=-1))


def _directions(e: Evidence, layer: str, kind: str, x: Array, lengths: Array) -> Iterator[Array]:
    """The outputs of each direction, (n, time, units), zero behind the end of each sequence."""
    steps = np.arange(x.shape[1])
    seen = steps < lengths[:, None]
    one_way = kind.removeprefix("bidirectional_")
    if one_way == kind:
        yield np.where(seen[..., None], states(kind, x, _weights(e, layer)), 0.0)
        return
    # Turned round within its length, a sequence is turned back by the same indices.
    turned = np.where(seen, lengths[:, None] - 1 - steps, steps)[..., None]
    for way, order in (("forward", steps[None, :, None]), ("backward", turned)):
        ordered = np.take_along_axis(x, order, axis=1)
        outputs = states(one_way, ordered, _weights(e, f"{layer}/{way}"))
        yield np.where(seen[..., None], np.take_along_axis(outputs, order, axis=1), 0.0)


def _taken(outputs: Array) -> Iterator[Array]:
    """What may be made of the outputs of all steps."""
    yield outputs.mean(axis=1)
    yield outputs.max(axis=1)
    yield outputs.sum(axis=1)
    yield outputs[:, -1]


@explains(4, "bidirectional-last-step")
def _last_step(e: Evidence) -> bool:
    """Of the backward direction Torch takes the state after one step, at the end."""
    before, _ = e.ends
    kinds = {layer["name"]: layer["kind"] for layer in e.keras.layers}
    kind = kinds[before].removeprefix("bidirectional_")
    if kind == kinds[before]:
        return False
    keras, torch = e.failed()
    units = keras.shape[-1] // 2
    x = double(e.keras[f"training/{before}/input"])[:, -1:]
    predicted = states(kind, x, _weights(e, f"{before}/backward"))[:, -1]
    forward = e.close(keras[:, :units], torch[:, :units])
    return forward and e.close(predicted, torch[:, units:])
