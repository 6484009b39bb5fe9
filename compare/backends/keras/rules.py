"""Which tensors a layer has, and what they are called: one rule per type of layer.

The canonical form is Keras' own, so that most rules only name variables. `add_rule` teaches a new
type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from compare.backends.keras.structures import to_numpy
from compare.backends.protocol import Names
from compare.data import Array


@dataclass(frozen=True)
class Tensor:
    """A variable, and how its layout becomes the canonical one.

    The same holds for its gradient and for its slots in an optimizer.

    Attributes:
        variable: Of the layer.
        axes: Transposition into the canonical layout, if its own is another.
        reshaped: Canonical shape after that, if it is another still.
    """

    variable: keras.Variable
    axes: tuple[int, ...] | None = None
    reshaped: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in the canonical layout."""
        return self.reshaped or self._transposed_shape()

    def _transposed_shape(self) -> tuple[int, ...]:
        own = tuple(self.variable.shape)
        return own if self.axes is None else tuple(own[axis] for axis in self.axes)

    def canonical(self, value: Any) -> Array:
        """A copy in the canonical layout of the variable, or of anything laid out like it."""
        array = to_numpy(value)
        array = array if self.axes is None else array.transpose(self.axes).copy()
        return array.reshape(self.shape)

    def assign(self, array: Array) -> None:
        """Set the variable from an array in the canonical layout.

        Raises:
            ValueError: Its shape is another.
        """
        array = np.asarray(array)
        if array.shape != self.shape:
            raise ValueError(f"expected shape {self.shape}, received {array.shape}")
        array = array.reshape(self._transposed_shape())
        if self.axes is not None:
            array = array.transpose(np.argsort(self.axes))
        self.variable.assign(array)


@dataclass(frozen=True)
class Part:
    """What one entry of a model's list of layers holds: its kind and its tensors by name."""

    kind: str
    tensors: dict[str, Tensor]


Rule = Callable[[keras.Layer], dict[str, Part]]
"""From a built layer to its parts; a layer that is one whole has the single part `""`."""

_K = keras.layers
_CONVOLUTIONS = (_K.Conv1D, _K.Conv2D, _K.Conv3D)
_DEPTHWISE = (_K.DepthwiseConv1D, _K.DepthwiseConv2D)
_SEPARABLE = (_K.SeparableConv1D, _K.SeparableConv2D)
_TRANSPOSED = (_K.Conv1DTranspose, _K.Conv2DTranspose, _K.Conv3DTranspose)
_CELLS = {_K.SimpleRNNCell: "simple_rnn", _K.LSTMCell: "lstm", _K.GRUCell: "gru"}
_OWN: dict[type, Rule] = {}

FUSED = (_K.Dense, _K.EinsumDense, *_CONVOLUTIONS, *_DEPTHWISE, *_SEPARABLE, *_TRANSPOSED)
"""Layers that apply their `activation` to their output, once: it is looked behind."""


def add_rule(layer_type: type, names: Names | None = None, *, kind: str | None = None) -> None:
    """See `KerasFramework.add_rule`."""
    if not (isinstance(layer_type, type) and issubclass(layer_type, keras.Layer)):
        raise TypeError(f"expected a subclass of keras.Layer, received {layer_type!r}")

    def rule(layer: keras.Layer) -> dict[str, Part]:
        if names is None:
            tensors = {name: Tensor(variable) for name, variable in _variables(layer)}
        else:
            tensors = {name: _at(layer, path) for name, path in names.items()}
        return {"": Part(kind or layer_type.__name__, tensors)}

    _OWN[layer_type] = rule


def forget_rule(layer_type: type) -> None:
    """See `Framework.forget_rule`."""
    _OWN.pop(layer_type, None)


def parts(layer: keras.Layer, path: str) -> dict[str, Part] | None:
    """The parts of a layer that counts as one whole; None for one that only holds other layers.

    Args:
        layer: A built layer.
        path: Its name, for messages.

    Raises:
        TypeError: It has tensors, all or some of which no rule knows.
    """
    rule = next((r[t] for r in (_OWN, _RULES) for t in type(layer).__mro__ if t in r), None)
    unknown: list[str] = []
    entries: dict[str, Part] | None = None
    if rule is not None:
        try:
            entries = rule(layer)
        except _UnknownError as error:
            raise TypeError(f"{path} ({type(layer).__name__}): {error}") from None
        known = {id(t.variable) for part in entries.values() for t in part.tensors.values()}
        known |= {id(state) for state in states_between_batches(layer)}
        unknown = [name for name, variable in _variables(layer) if id(variable) not in known]
    elif layer._trainable_variables or layer._non_trainable_variables:
        unknown = ["the weights"]
    if unknown:
        raise TypeError(
            f"no rule for {', '.join(unknown)} of {type(layer).__name__} ({path}): register one "
            "with @compare.weight_rule(KerasLayer, TorchModule)"
        )
    return entries


class _UnknownError(TypeError):
    """A layer whose type is known, but not with these settings."""


def _at(layer: keras.Layer, path: str | tuple[str, Sequence[int]]) -> Tensor:
    path, axes = (path, None) if isinstance(path, str) else (path[0], tuple(path[1]))
    variable: Any = layer
    for step in path.split("."):
        try:
            variable = variable[int(step)] if step.isdigit() else getattr(variable, step)
        except (AttributeError, LookupError, TypeError):
            raise _UnknownError(f"its rule names {path!r}, which it does not have") from None
    if not isinstance(variable, keras.Variable):
        raise _UnknownError(f"its rule names {path!r}, which is no variable")
    if axes is not None and sorted(axes) != list(range(len(variable.shape))):
        raise _UnknownError(f"its rule transposes {path!r}, {variable.shape}, by {axes}")
    return Tensor(variable, axes=axes)


def _variables(layer: keras.Layer, prefix: str = "") -> Iterator[tuple[str, keras.Variable]]:
    """All weights of a layer, those of inner layers by their path; no states of generators."""
    for variable in [*layer._trainable_variables, *layer._non_trainable_variables]:
        yield f"{prefix}{variable.name}", variable
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        yield from _variables(inner, f"{prefix}{inner.name}/")


def states_between_batches(layer: keras.Layer) -> list[keras.Variable]:
    """The states that stateful recurrent layers keep from batch to batch, which are no weights."""
    return [
        state
        for part in layer._flatten_layers()
        if isinstance(part, keras.layers.RNN)
        for state in keras.tree.flatten(part.states or [])
        if isinstance(state, keras.Variable)
    ]


def _named(layer: Any, *names: str) -> dict[str, Tensor]:
    variables = {name: getattr(layer, name, None) for name in names}
    return {name: Tensor(v) for name, v in variables.items() if v is not None}


def _whole(kind: str, *names: str) -> Rule:
    return lambda layer: {"": Part(kind, _named(layer, *names))}


def _conv(layer: Any) -> dict[str, Part]:
    tensors = _named(layer, "kernel", "bias")
    *size, per_group, out = layer.kernel.shape
    if layer.groups == 1 or per_group != 1:
        return {"": Part("conv", tensors)}
    # Output channel g·m + j belongs to group g: the same numbers as a depthwise kernel's.
    shape = (*size, layer.groups, out // layer.groups)
    return {"": Part("depthwise_conv", {**tensors, "kernel": Tensor(layer.kernel, reshaped=shape)})}


def _depthwise_kind(kernel: keras.Variable) -> str:
    # With one channel there is nothing to keep apart, and no framework could tell.
    return "depthwise_conv" if kernel.shape[-2] > 1 else "conv"


def _depthwise(layer: Any) -> dict[str, Part]:
    return {"": Part(_depthwise_kind(layer.kernel), _named(layer, "kernel", "bias"))}


def _separable(layer: Any) -> dict[str, Part]:
    depthwise, pointwise = Tensor(layer.depthwise_kernel), Tensor(layer.pointwise_kernel)
    return {
        "depthwise": Part(_depthwise_kind(layer.depthwise_kernel), {"kernel": depthwise}),
        "pointwise": Part("conv", {"kernel": pointwise, **_named(layer, "bias")}),
    }


def _layer_norm(layer: Any) -> dict[str, Part]:
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    rank = next((len(s) for s in (layer._build_shapes_dict or {}).values() if s), None)
    if len(axes) != 1 or (axes[0] != -1 and (rank is None or axes[0] != rank - 1)):
        raise _UnknownError(
            f"only normalization over the last axis is known, not {axes}: normalize over axis -1"
        )
    return {"": Part("layer_norm", _named(layer, "gamma", "beta"))}


def _recurrent(layer: Any) -> dict[str, Part]:
    kind = next((k for cell, k in _CELLS.items() if isinstance(layer.cell, cell)), None)
    if kind is None:
        raise _UnknownError(
            f"no rule for the weights of the cell {type(layer.cell).__name__}: use SimpleRNN, LSTM "
            "or GRU, or register a rule with @compare.weight_rule(KerasLayer, TorchModule)"
        )
    if kind == "gru" and not layer.cell.reset_after:
        raise _UnknownError("reset_after=False has no counterpart in Torch: use reset_after=True")
    return {"": Part(kind, _named(layer.cell, "kernel", "recurrent_kernel", "bias"))}


def _bidirectional(layer: Any) -> dict[str, Part]:
    sides = {"forward": layer.forward_layer, "backward": layer.backward_layer}
    if not all(isinstance(side, _K.RNN) for side in sides.values()):
        raise _UnknownError("only SimpleRNN, LSTM and GRU are known in both directions")
    parts = {side: _recurrent(layer)[""] for side, layer in sides.items()}
    if parts["forward"].kind != parts["backward"].kind:
        raise _UnknownError("expected the same type of layer in both directions")
    return {"": Part(f"bidirectional_{parts['forward'].kind}", _prefixed(parts))}


def _attention(layer: Any) -> dict[str, Part]:
    sides = {"query": layer._query_dense, "key": layer._key_dense, "value": layer._value_dense}
    sides["attention_output"] = layer._output_dense
    parts = {side: Part("dense", _named(dense, "kernel", "bias")) for side, dense in sides.items()}
    return {"": Part("attention", _prefixed(parts))}


def _prefixed(parts: Mapping[str, Part]) -> dict[str, Tensor]:
    return {f"{side}/{name}": t for side, part in parts.items() for name, t in part.tensors.items()}


_RULES: dict[type, Rule] = {
    _K.Dense: _whole("dense", "kernel", "bias"),
    **dict.fromkeys(_CONVOLUTIONS, _conv),
    **dict.fromkeys(_DEPTHWISE, _depthwise),
    **dict.fromkeys(_SEPARABLE, _separable),
    **dict.fromkeys(_TRANSPOSED, _whole("conv_transpose", "kernel", "bias")),
    _K.BatchNormalization: _whole("batch_norm", "gamma", "beta", "moving_mean", "moving_variance"),
    _K.LayerNormalization: _layer_norm,
    _K.GroupNormalization: _whole("group_norm", "gamma", "beta"),
    _K.Embedding: _whole("embedding", "embeddings"),
    _K.RNN: _recurrent,
    _K.Bidirectional: _bidirectional,
    _K.MultiHeadAttention: _attention,
}
