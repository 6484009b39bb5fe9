"""What explains outputs that differ: epsilons, orders of axes, slopes and rounded numbers.

Each explanation is a hypothesis about what Torch computed from the inputs on which both agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import special

from compare.parity.explain.evidence import Array, Evidence
from compare.parity.layouts import channels_before, nearest
from compare.trace import split

_TORCH_SLOPE = 0.01
"""`nn.LeakyReLU`'s where nobody says otherwise."""

_READ_IN_TIME = ("simple_rnn", "lstm", "gru", "attention")


def batch_first(e: Evidence) -> Sequence[str]:
    """Torch took the batch for the time steps."""
    keras, torch = e.both(e.check.path)
    kind = _kind(e, _name(e.check.path))
    ordered = kind.removeprefix("bidirectional_") in _READ_IN_TIME
    swapped = ordered and keras.ndim == 3 and e.close(keras.transpose(1, 0, 2), torch)
    return ("lstm-batch-first",) if swapped else ()


def flatten_order(e: Evidence) -> Sequence[str]:
    """A dense layer receives Keras' features in the order of another layout of the image."""
    keras, torch = e.both(e.check.path)
    order = nearest(keras, torch, channels_before(e.keras, _name(e.check.path)))
    return ("flatten-order",) if order is not None and e.close(keras[:, order], torch) else ()


def same_padding(e: Evidence) -> Sequence[str]:
    """A strided convolution of the same image, padded otherwise at its beginning."""
    layer = e.layer()
    if layer is None or layer["kind"] not in ("conv", "depthwise_conv"):
        return ()
    settings = layer["settings"]
    if settings.get("padding") != "same" or max(settings["strides"]) < 2:
        return ()
    name = layer["name"]
    image, _ = e.both(f"training/{name}/input")
    _, found = e.both(f"training/{name}/output")
    kernel = np.asarray(e.keras[f"initial/{name}/kernel"], dtype=np.float64)
    bias = e.keras.get(f"initial/{name}/bias")
    # One sample tells, and the windows of a whole batch may not fit into memory.
    for predicted in _convolutions(image[:1], kernel, settings):
        shifted = predicted if bias is None else predicted + np.asarray(bias)
        if e.close(shifted, found[:1]):
            return ("same-padding-stride",)
    return ()


def _convolutions(image: Array, kernel: Array, settings: Mapping[str, Any]) -> Iterator[Array]:
    """The convolution of one image with a stride, for every way to begin its padding.

    Args:
        image: (1, …, channels).
        kernel: (…, channels per group, filters).
        settings: `strides`, `dilation` and `groups`.
    """
    strides, dilation, rank = settings["strides"], settings["dilation"], kernel.ndim - 2
    reach = [(k - 1) * d for k, d in zip(kernel.shape, dilation, strict=False)]
    outputs = [-(-n // s) for n, s in zip(image.shape[1:], strides, strict=False)]
    groups = settings["groups"]
    # A depthwise kernel has its groups where others have their channels.
    axis = -2 if groups > 1 and kernel.shape[-2] == image.shape[-1] else -1
    parts = zip(
        np.split(image[0], groups, axis=-1), np.split(kernel, groups, axis=axis), strict=True
    )
    windows = [
        (_windows(np.pad(part, [*((r, 2 * r) for r in reach), (0, 0)]), reach, dilation), weights)
        for part, weights in parts
    ]
    for begin in product(*(range(r + 1) for r in reach)):
        every = tuple(
            slice(r - b, r - b + s * (n - 1) + 1, s)
            for r, b, s, n in zip(reach, begin, strides, outputs, strict=True)
        )
        inner = list(range(rank + 1, 2 * rank + 1))
        found = [
            np.tensordot(view[every], weights, axes=([*inner, rank], [*range(rank), rank]))
            for view, weights in windows
        ]
        yield np.concatenate(found, axis=-1)[None]


def _windows(image: Array, reach: Sequence[int], dilation: Sequence[int]) -> Array:
    """Every window of an image: (…, channels, …), windows behind the channels."""
    rank = len(reach)
    view = sliding_window_view(image, [r + 1 for r in reach], axis=tuple(range(rank)))
    taken: Any = (..., *(slice(None, None, d) for d in dilation))
    return np.asarray(view[taken])


def norm_epsilon(e: Evidence) -> Sequence[str]:
    """An epsilon that fits Torch's output of a layer or group normalization."""
    layer = e.layer()
    if layer is None or layer["kind"] not in ("layer_norm", "group_norm"):
        return ()
    name = layer["name"]
    x = np.asarray(e.torch[f"training/{name}/input"], dtype=np.float64)
    _, found = e.both(f"training/{name}/output")
    gamma, beta = _affine_of(e, name)
    groups = layer["settings"].get("groups", 1)
    axes: tuple[int, ...] = tuple(range(x.ndim - gamma.ndim, x.ndim))
    grouped = x
    if layer["kind"] == "group_norm":
        grouped = x.reshape(*x.shape[:-1], groups, -1)
        axes = (*range(1, x.ndim - 1), x.ndim)
    mean, variance = (f(axis=axes, keepdims=True) for f in (grouped.mean, grouped.var))
    centred = gamma * (grouped - mean).reshape(x.shape)
    spread = np.broadcast_to(variance, grouped.shape).reshape(x.shape)
    far = np.abs(centred) >= 0.5 * np.abs(centred).max(initial=0.0)
    epsilon = float(np.median((centred[far] / (found - beta)[far]) ** 2 - spread[far]))
    fits = e.close(centred / np.sqrt(spread + epsilon) + beta, found)
    return ("norm-epsilon",) if epsilon > 0 and fits else ()


def batch_norm(e: Evidence) -> Sequence[str]:
    """An epsilon that fits Torch's output, or moving statistics in training mode."""
    layer = e.layer()
    if layer is None or layer["kind"] != "batch_norm":
        return ()
    name = layer["name"]
    x = np.asarray(e.torch[f"training/{name}/input"], dtype=np.float64)
    _, found = e.both(f"training/{name}/output")
    gamma, beta = _affine_of(e, name)
    axes = tuple(range(x.ndim - 1))
    moving_mean, moving_variance = (
        np.asarray(e.torch[f"initial/{name}/moving_{part}"]) for part in ("mean", "variance")
    )
    hypotheses: tuple[tuple[str, Array, Array], ...] = (
        ("bn-epsilon", x.mean(axes), x.var(axes)),
        ("train-mode", moving_mean, moving_variance),
    )
    for convention, mean, variance in hypotheses:
        centred = gamma * (x - mean)
        shifted = found - beta
        # Where rounding weighs least: the sample farthest from the mean, per channel.
        far = np.abs(centred).reshape(-1, x.shape[-1]).argmax(axis=0)
        columns = np.arange(x.shape[-1])
        pick = [part.reshape(-1, x.shape[-1])[far, columns] for part in (centred, shifted)]
        # A channel that is all zeros says nothing.
        epsilon = float(np.nanmedian((pick[0] / pick[1]) ** 2 - variance))
        predicted = centred / np.sqrt(variance + epsilon) + beta
        if epsilon > 0 and e.close(predicted, found):
            return (convention,)
    return ()


def _affine_of(e: Evidence, name: str) -> tuple[Array, Array]:
    """Scale and shift of a normalization; one and zero where it has none."""
    x = e.keras[f"training/{name}/input"]
    parts = (("gamma", np.ones(x.shape[-1])), ("beta", np.zeros(x.shape[-1])))
    gamma, beta = (np.asarray(e.keras.get(f"initial/{name}/{p}", other)) for p, other in parts)
    return gamma, beta


def leaky_slope(e: Evidence) -> Sequence[str]:
    """Between two layers: a leaky ReLU with Torch's default slope, in Keras with another."""
    keras, torch, before = _between(e)
    slope = _slope(before, keras)
    default = e.close(_leaky(before, _TORCH_SLOPE), torch)
    other = slope is not None and abs(slope - _TORCH_SLOPE) > 1e-6
    fits = default and other and e.close(_leaky(before, slope or 0.0), keras)
    return ("leaky-relu-slope",) if fits else ()


def rounded_constants(e: Evidence) -> Sequence[str]:
    """Keras' arithmetic with a number rounded to float32, and Torch's with the double."""
    if e.single:
        return ()
    if e.check.path.endswith("/output"):
        return _rounded_attention(e)
    keras, torch, before = _between(e)
    slope = _slope(before, torch)
    pairs = [
        (_gelu(before, float(np.float32(np.sqrt(0.5)))), _gelu(before, np.sqrt(0.5))),
        *([] if slope is None else [(_leaky(before, np.float32(slope)), _leaky(before, slope))]),
    ]
    fits = any(e.close(ours, keras) and e.close(theirs, torch) for ours, theirs in pairs)
    return ("float32-constants",) if fits else ()


def _rounded_attention(e: Evidence) -> Sequence[str]:
    layer = e.layer()
    if layer is None or layer["kind"] != "attention":
        return ()
    keras, torch = e.both(e.check.path)
    exact = 1.0 / np.sqrt(float(layer["settings"]["key_dim"]))
    fits = (
        e.close(_attention(e, layer["name"], scale), out)
        for scale, out in ((float(np.float32(exact)), keras), (exact, torch))
    )
    return ("float32-constants",) if all(fits) else ()


def _attention(e: Evidence, name: str, scale: float) -> Array:
    def weights(part: str) -> tuple[Array, Array]:
        start = f"initial/{name}/{part}"
        bias = e.keras.get(f"{start}/bias")
        return e.both(f"{start}/kernel")[0], np.zeros(()) if bias is None else np.asarray(bias)

    ends = {"query": "input", "value": "input_value", "key": "input_key"}
    first = e.keras[f"training/{name}/input"]
    value = e.keras.get(f"training/{name}/input_value", first)
    given = {"query": first, "value": value}
    given["key"] = e.keras.get(f"training/{name}/{ends['key']}", value)
    q, k, v = (
        np.einsum("btd,dhk->bhtk", given[part], weights(part)[0]) + weights(part)[1][..., None, :]
        for part in ("query", "key", "value")
    )
    seen = special.softmax(np.einsum("bhtk,bhsk->bhts", q * scale, k), axis=-1) @ v
    kernel, bias = weights("attention_output")
    return np.asarray(np.einsum("bhtk,hkd->btd", seen, kernel) + bias)


def _between(e: Evidence) -> tuple[Array, Array, Array]:
    """What a layer receives on either side, and what the layer before it returned."""
    keras, torch = e.both(e.check.path)
    before = e.check.layer.removeprefix("between ").partition(" and ")[0]
    key = "step/1/data/x" if before == "the input" else f"training/{before}/output"
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


def _leaky(x: Array, slope: float | np.floating) -> Array:
    return np.where(x > 0.0, x, float(slope) * x)


def _gelu(x: Array, root: float) -> Array:
    """GELU, with √½ as it is given."""
    return np.asarray(0.5 * x * special.erfc(-x * root))


def mask_zero(e: Evidence) -> Sequence[str]:
    """Samples without padding agree to rounding, and only samples with padding differ."""
    keras, torch = e.both(e.check.path)
    masked = (x for x in e.keras.layers if x["settings"].get("mask_zero"))
    tokens = next((e.keras[f"training/{x['name']}/input"] for x in masked), None)
    if tokens is None or tokens.ndim != 2 or keras.shape != torch.shape or not keras.ndim:
        return ()
    padded = (np.asarray(tokens) == 0).any(axis=1)
    if len(keras) != len(padded) or padded.all() or e.close(keras[padded], torch[padded]):
        return ()
    return ("mask-zero",) if e.close(keras[~padded], torch[~padded]) else ()


def _name(path: str) -> str:
    """The layer in the name of something that was recorded of it."""
    return split(path)[1].rpartition("/")[0]


def _kind(e: Evidence, name: str) -> str:
    found = (x["kind"] for x in e.keras.layers if x["name"] == name.partition("#")[0])
    return next(found, "")
