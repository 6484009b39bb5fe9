"""What explains outputs that differ: epsilons, orders of axes, slopes and rounded numbers.

Each explanation is a hypothesis about what Torch computed from the inputs on which both agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from scipy import special

from compare.conventions import Numbers
from compare.parity.explain.attention import attended
from compare.parity.explain.between_layers import leaky
from compare.parity.explain.evidence import Array, Evidence, double, explains, short
from compare.parity.layouts import channels_before, nearest
from compare.trace import split

_READ_IN_TIME = ("simple_rnn", "lstm", "gru", "attention")


@explains(4, "lstm-batch-first")
def _batch_first(e: Evidence) -> bool:
    """Torch took the batch for the time steps."""
    keras, torch = e.failed()
    name = _layer_of(e.check.path).partition("#")[0]
    kind = next((layer["kind"] for layer in e.keras.layers if layer["name"] == name), "")
    ordered = kind.removeprefix("bidirectional_") in _READ_IN_TIME
    return ordered and keras.ndim == 3 and e.close(keras.transpose(1, 0, 2), torch)


@explains(4, "flatten-order")
def _flatten_order(e: Evidence) -> bool:
    """A dense layer receives Keras' features in the order of another layout of the image."""
    keras, torch = e.failed()
    order = nearest(keras, torch, channels_before(e.keras, _layer_of(e.check.path)))
    return order is not None and e.close(keras[:, order], torch)


def _layer_of(path: str) -> str:
    """The layer in the name of something that was recorded of it."""
    return split(path)[1].rpartition("/")[0]


@explains(4, kinds=["batch_norm"])
def _batch_norm(e: Evidence) -> Mapping[str, Numbers]:
    """Another epsilon; statistics of the batch for the moving ones, or the other way round."""
    name = e.check.layer
    x, output, gamma, beta = _normalized(e)
    keras = double(e.keras[f"training/{name}/output"])
    axes = tuple(range(x.ndim - 1))
    moving = [double(e.torch[f"initial/{name}/moving_{part}"]) for part in ("mean", "variance")]
    statistics = {"batch": (x.mean(axes), x.var(axes)), "moving": (moving[0], moving[1])}
    epsilon = e.layer["settings"]["epsilon"]

    def used(actual: Array) -> tuple[str, float]:
        """Which statistics a side normalized with, and its epsilon."""
        for kind, (mean, variance) in statistics.items():
            centred = gamma * (x - mean)
            for fitted in (epsilon, _epsilon(centred, actual - beta, variance)):
                if fitted > 0 and e.close(centred / np.sqrt(variance + fitted) + beta, actual):
                    return kind, fitted
        raise LookupError(name)  # It does something else.

    (expected, _), (actual, fitted) = used(keras), used(output)
    names: dict[str, Numbers] = {}
    if expected != actual:
        names["bn-frozen" if e.layer["settings"]["frozen"] else "train-mode"] = {}
    if fitted != epsilon:
        names["bn-epsilon"] = {"keras": epsilon, "torch": short(fitted)}
    return names


def _epsilon(centred: Array, output: Array, variance: Array) -> float:
    """The epsilon that makes `output` of `centred`, (…, channels).

    It is read where rounding weighs least: at the sample farthest from the mean, per channel. A
    channel that is all zeros says nothing.
    """
    flat, channels = centred.reshape(-1, centred.shape[-1]), np.arange(centred.shape[-1])
    far = np.abs(flat).argmax(axis=0), channels
    ratio = flat[far] / output.reshape(flat.shape)[far]
    return float(np.nanmedian(ratio**2 - variance))


@explains(4, "image-layout")
def _reshaped(e: Evidence) -> bool:
    """The first layer's images were reshaped to channels first, and not moved."""
    before, _ = e.ends
    keras, torch = e.failed()
    if before or keras.ndim < 3 or keras.shape != torch.shape:
        return False
    n, *pixels, channels = keras.shape
    return e.close(np.moveaxis(keras.reshape(n, channels, *pixels), 1, -1), torch)


@explains(4, "bn-axis")
def _over_other_axis(e: Evidence) -> bool:
    """What a batch normalization receives, with another axis as its channels."""
    kinds = {layer["name"]: layer["kind"] for layer in e.keras.layers}
    if kinds.get(e.ends[1]) != "batch_norm":
        return False
    keras, torch = e.failed()
    return keras.ndim > 2 and e.close(np.moveaxis(keras, 1, -1), torch)


@explains(4, kinds=["layer_norm", "group_norm"])
def _norm_epsilon(e: Evidence) -> Mapping[str, Numbers]:
    """An epsilon that fits Torch's output of a layer or group normalization."""
    x, output, gamma, beta = _normalized(e)
    axes: tuple[int, ...] = tuple(range(x.ndim - gamma.ndim, x.ndim))
    grouped = x
    if e.layer["kind"] == "group_norm":
        grouped = x.reshape(*x.shape[:-1], e.layer["settings"].get("groups", 1), -1)
        axes = (*range(1, x.ndim - 1), x.ndim)
    mean, variance = (f(axis=axes, keepdims=True) for f in (grouped.mean, grouped.var))
    centred = gamma * (grouped - mean).reshape(x.shape)
    spread = np.broadcast_to(variance, grouped.shape).reshape(x.shape)
    far = np.abs(centred) >= 0.5 * np.abs(centred).max(initial=0.0)
    epsilon = float(np.median((centred[far] / (output - beta)[far]) ** 2 - spread[far]))

    def fits(epsilon: float, actual: Array) -> bool:
        return e.close(centred / np.sqrt(spread + epsilon) + beta, actual)

    keras = e.layer["settings"]["epsilon"]
    # Keras' own must be what its setting says: else more than epsilon differs.
    known = fits(keras, e.failed()[0]) and not fits(keras, output)
    if not (known and epsilon > 0 and fits(epsilon, output)):
        return {}
    return {"norm-epsilon": {"keras": keras, "torch": short(epsilon)}}


def _normalized(e: Evidence) -> tuple[Array, Array, Array, Array]:
    """What a normalization received and returned in Torch, its scale and its shift.

    Scale and shift are one and zero where it has none.
    """
    name = e.check.layer
    x = double(e.torch[f"training/{name}/input"])
    output = double(e.torch[f"training/{name}/output"])
    parts = (("gamma", np.ones(x.shape[-1])), ("beta", np.zeros(x.shape[-1])))
    gamma, beta = (np.asarray(e.keras.get(f"initial/{name}/{p}", other)) for p, other in parts)
    return x, output, gamma, beta


@explains(4)
def _leaky_slope(e: Evidence) -> Mapping[str, Numbers]:
    """Between two layers: a leaky ReLU whose slope is another in Torch."""
    keras, torch, before = _between(e)
    slopes = [_slope(before, after) for after in (keras, torch)]
    # A slope of zero is a ReLU, of one nothing at all; rounding to float32 has another name.
    rounding = np.finfo(np.float32).eps
    fitted = [slope for slope in slopes if slope is not None and 0.0 < slope < 1.0 - rounding]
    if len(fitted) < 2 or abs(fitted[0] - fitted[1]) <= rounding:
        return {}
    fits = (e.close(leaky(before, s), x) for s, x in zip(fitted, (keras, torch), strict=True))
    values = dict(zip(("keras", "torch"), map(short, fitted), strict=True))
    return {"leaky-relu-slope": values} if all(fits) else {}


@explains(4)
def _rounded_constants(e: Evidence) -> Mapping[str, Numbers]:
    """Keras' arithmetic with a number rounded to float32, and Torch's with the double."""
    if e.single:
        return {}
    functions: list[tuple[Callable[[float], Array], float]]
    if e.check.path.endswith("/output"):
        if e.layer["kind"] != "attention":
            return {}
        keras, torch = e.failed()
        scale = 1.0 / np.sqrt(float(e.layer["settings"]["key_dim"]))
        functions = [(partial(attended, e.keras, e.check.layer), scale)]
    else:
        keras, torch, before = _between(e)
        slope = _slope(before, torch)
        functions = [(partial(_gelu, before), np.sqrt(0.5))]
        if slope is not None:
            functions += [(partial(leaky, before), s) for s in (short(slope), slope)]
    for compute, constant in functions:
        rounded = float(np.float32(constant))
        if e.close(compute(rounded), keras) and e.close(compute(constant), torch):
            return {"float32-constants": {"keras": constant}}
    return {}


def _between(e: Evidence) -> tuple[Array, Array, Array]:
    """What a layer receives on either side, and what the layer before it returned."""
    keras, torch = e.failed()
    before, _ = e.ends
    key = f"training/{before}/output" if before else "step/1/data/x"
    returned = e.both(key)[0]
    if not keras.shape == torch.shape == returned.shape:
        raise KeyError(key)  # More than an elementwise function lies between them.
    return keras, torch, returned


def _slope(before: Array, after: Array) -> float | None:
    """The slope of a leaky ReLU below zero; None where nothing is below."""
    low = before < 0.0
    if not low.any():
        return None
    place = np.where(low, before, 0.0).argmin()
    return float(after.ravel()[place] / before.ravel()[place])


def _gelu(x: Array, root: float) -> Array:
    """GELU, with √½ as it is given."""
    return np.asarray(0.5 * x * special.erfc(-x * root))


@explains(4, "hard-sigmoid")
def _hard_sigmoid(e: Evidence) -> bool:
    """Between two layers: the hard sigmoid of Keras 3, and in Torch that of Keras 1 and 2."""
    keras, torch, before = _between(e)
    today, former = (np.clip(slope * before + 0.5, 0.0, 1.0) for slope in (1.0 / 6.0, 0.2))
    return e.close(today, keras) and e.close(former, torch) and not e.close(today, torch)
