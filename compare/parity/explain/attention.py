"""What explains an attention: the size of its heads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

from compare.parity.explain.evidence import Array, Evidence, double, explains
from compare.trace import Layer, Trace


def attended(trace: Trace, name: str, scale: float, *, causal: bool = False) -> Array:
    """What an attention returns in the first step if its scores are multiplied by a scale.

    Args:
        trace: What the layer received, and its weights.
        name: The layer.
        scale: Of the scores.
        causal: Whether a step sees those before it alone.
    """

    def weights(part: str) -> tuple[Array, Array]:
        start = f"initial/{name}/{part}"
        return double(trace[f"{start}/kernel"]), double(trace.get(f"{start}/bias", np.zeros(())))

    def projected(part: str, x: Array) -> Array:
        kernel, bias = weights(part)
        return np.asarray(np.einsum("btd,dhk->bhtk", x, kernel) + bias[..., None, :])

    start = f"training/{name}/input"
    query = double(trace[start])
    value = double(trace.get(f"{start}_value", query))
    key = double(trace.get(f"{start}_key", value))
    q, k, v = projected("query", query), projected("key", key), projected("value", value)
    scores = np.einsum("bhtk,bhsk->bhts", q * scale, k)
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:]) > 0.0, scores, -np.inf)
    seen = special.softmax(scores, axis=-1) @ v
    kernel, bias = weights("attention_output")
    return np.asarray(np.einsum("bhtk,hkd->btd", seen, kernel) + bias)


@explains(1, "attention-key-dim", kinds=["attention"])
def _head_size(e: Evidence) -> bool:
    """Heads of another size in Torch, and nothing else in the structure of the two.

    The weights do not fit each other: Torch's are held against its own output.
    """
    theirs = {layer["name"]: layer for layer in e.torch.layers}
    if len(e.keras.layers) != len(theirs):
        return False
    return all(_resized(e, layer, theirs[layer["name"]]) for layer in e.keras.layers)


def _resized(e: Evidence, keras: Layer, torch: Layer) -> bool:
    """Whether a layer is the same on both sides, but for the size of an attention's heads."""
    structure = ("kind", "tensors", "trained")
    if all(keras[part] == torch[part] for part in structure):
        return True
    ours, theirs = keras["settings"], torch["settings"]
    size = theirs["key_dim"]
    if ours["heads"] != theirs["heads"] or keras["kind"] != torch["kind"]:
        return False
    tensors = {
        tensor: _with_heads(tensor, shape, ours["key_dim"], size)
        for tensor, shape in keras["tensors"].items()
    }
    shrunk = sum(math.prod(shape) for shape in tensors.values())
    whole = sum(math.prod(shape) for shape in keras["tensors"].values())
    if tensors != torch["tensors"] or (keras["trained"], torch["trained"]) != (whole, shrunk):
        return False
    name, scale = torch["name"], 1.0 / math.sqrt(size)
    # Weights that do not fit let values differ; the batch in the place of time shows in shapes.
    ends = [key for key in e.torch if key.startswith(f"training/{name}/")]
    if any(e.torch[key].shape != e.keras[key].shape for key in ends):
        return False
    returned = double(e.torch[f"training/{name}/output"])
    ways = (attended(e.torch, name, scale, causal=causal) for causal in (False, True))
    # Nothing is compared to rounding on this rung.
    return any(e.close(predicted, returned) for predicted in ways)


def _with_heads(name: str, shape: Any, old: int, new: int) -> list[int]:
    """The shape of a tensor where heads have another size; values may have one of their own."""
    if name == "attention_output/bias":
        return list(shape)
    axis = -2 if name == "attention_output/kernel" else -1
    resized = list(shape)
    resized[axis] = new if resized[axis] == old else resized[axis]
    return resized
