"""What is set, rather than trained: of layers, optimizers and losses, in Keras' conventions."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import keras

from compare.backends.keras.tensors import Part, to_numpy

_K = keras.layers
_NUMBERS = (
    "momentum",
    "nesterov",
    "beta_1",
    "beta_2",
    "epsilon",
    "rho",
    "centered",
    "amsgrad",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
)
_RATES = ("rate", "stddev", "dropout")


def of_part(layer: Any, name: str, part: Part) -> dict[str, Any]:
    """The settings of an entry of the list of layers, as JSON.

    Args:
        layer: A built layer that a rule knows.
        name: Of the entry: a separable convolution has two.
        part: What the rule found.
    """
    kind = part.kind
    if isinstance(layer, (_K.SeparableConv1D, _K.SeparableConv2D)):
        return _separable(layer, part, pointwise=name.endswith("/pointwise"))
    if kind in ("conv", "depthwise_conv"):
        found = _convolution(layer)
        groups = getattr(layer, "groups", 1)
        if isinstance(layer, (_K.DepthwiseConv1D, _K.DepthwiseConv2D)):
            groups = layer.kernel.shape[-2]
        return {**found, "groups": int(groups)}
    if kind == "conv_transpose":
        padding = layer.output_padding
        return {
            **_convolution(layer),
            "output_padding": None if padding is None else _ints(padding),
        }
    if kind.removeprefix("bidirectional_") in ("simple_rnn", "lstm", "gru"):
        return _recurrent(layer, part)
    simple = _SIMPLE.get(kind)
    return {} if simple is None else simple(layer)


_SIMPLE: dict[str, Any] = {
    "batch_norm": lambda layer: {
        "epsilon": float(layer.epsilon),
        "decay": float(layer.momentum),
        "biased": True,
        "frozen": not layer.trainable,
    },
    "layer_norm": lambda layer: {"epsilon": float(layer.epsilon)},
    "group_norm": lambda layer: {"epsilon": float(layer.epsilon), "groups": int(layer.groups)},
    "embedding": lambda layer: {"mask_zero": bool(layer.mask_zero)},
    "attention": lambda layer: {
        "heads": int(layer.num_heads),
        "key_dim": int(layer.key_dim),
        "dropout": float(layer.dropout),
    },
}


def _ints(value: Any) -> list[int]:
    return [int(v) for v in (value if isinstance(value, (tuple, list)) else [value])]


def _convolution(layer: Any) -> dict[str, Any]:
    rank = layer.rank
    strides, dilation = _ints(layer.strides), _ints(layer.dilation_rate)
    return {
        "strides": strides * rank if len(strides) == 1 else strides,
        "dilation": dilation * rank if len(dilation) == 1 else dilation,
        "padding": layer.padding,
    }


def _separable(layer: Any, part: Part, *, pointwise: bool) -> dict[str, Any]:
    if pointwise:
        ones = [1] * layer.rank
        return {"strides": ones, "dilation": ones, "padding": "valid", "groups": 1}
    return {**_convolution(layer), "groups": int(part.tensors["kernel"].shape[-2])}


def _recurrent(layer: Any, part: Part) -> dict[str, Any]:
    one = layer.forward_layer if isinstance(layer, _K.Bidirectional) else layer
    cell = one.cell
    # A GRU has two biases in Keras as well; of the others, Torch alone has a second one.
    biases = 2 if part.kind.endswith("gru") else 1
    found = {"activation": _function(cell.activation)}
    if hasattr(cell, "recurrent_activation"):
        found["recurrent_activation"] = _function(cell.recurrent_activation)
    return {
        **found,
        "trained_biases": biases if cell.use_bias else 0,
        "go_backwards": bool(one.go_backwards),
    }


def _function(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def optimizer_settings(model: keras.Model) -> dict[str, Any] | None:
    """The compiled optimizer's `kind` and numbers, under Keras' names; None if there is none."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return None
    rate = optimizer._learning_rate
    if isinstance(rate, keras.Variable) or not callable(rate):
        learning_rate: Any = float(to_numpy(rate))
    else:
        learning_rate = {"schedule": getattr(rate, "__name__", type(rate).__name__)}
    found = {"kind": type(optimizer).__name__.lower(), "learning_rate": learning_rate}
    for name in _NUMBERS:
        value = getattr(optimizer, name, None)
        if value is not None:
            found[name] = bool(value) if isinstance(value, bool) else float(value)
    return {**found, "weight_decay": float(optimizer.weight_decay or 0.0)}


def loss_settings(model: keras.Model) -> dict[str, Any]:
    """The compiled loss's `name`, `from_logits` and `reduction`; {} where it is not just one."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        config = loss.get_config()
        return {
            "name": loss.name,
            "from_logits": config.get("from_logits"),
            "reduction": loss.reduction,
        }
    if not callable(loss):
        return {}
    given = inspect.signature(loss).parameters.get("from_logits")
    return {
        "name": _function(loss),
        "from_logits": None if given is None else bool(given.default),
        # What `compile` makes of a function.
        "reduction": "sum_over_batch_size",
    }


def random_parts(model: keras.Model) -> list[str]:
    """Everything that draws numbers in training mode, as `path (Dropout, rate 0.5)`."""
    return list(_random(model, ""))


def _random(layer: Any, path: str) -> Iterator[str]:
    kind, rate = type(layer).__name__, None
    if isinstance(layer, _K.RNN):
        cell = layer.cell
        rates = {n: getattr(cell, n, 0.0) for n in ("dropout", "recurrent_dropout")}
        yield from (f"{path} ({kind}, {n} {r:g})" for n, r in rates.items() if r)
        return
    if isinstance(layer, _K.MultiHeadAttention):
        if layer.dropout:
            yield f"{path} ({kind}, dropout {layer.dropout:g})"
        return
    for name in _RATES:
        value = getattr(layer, name, None)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            rate = name, value
            break
    if layer._seed_generators and (rate is None or rate[1] > 0):
        yield f"{path} ({kind}{'' if rate is None else f', {rate[0]} {rate[1]:g}'})"
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        yield from _random(inner, f"{path}/{inner.name}".removeprefix("/"))
