"""What is set, rather than trained: of layers, optimizers and losses, in Keras' conventions."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras

from compare.backends.keras.rules import Part
from compare.backends.keras.structures import to_numpy

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
    "use_ema",
    "gradient_accumulation_steps",
    "loss_scale_factor",
    "initial_accumulator_value",
)
_RATES = ("rate", "stddev", "dropout")


def of_part(layer: Any, name: str, part: Part) -> dict[str, Any]:
    """The settings of an entry of the list of layers, as JSON.

    Args:
        layer: A built layer that a rule knows.
        name: Of the entry: a separable convolution has two.
        part: What the rule found.
    """
    return {**_of_kind(layer, name, part), **_beside(layer)}


def _of_kind(layer: Any, name: str, part: Part) -> dict[str, Any]:
    kind = part.kind
    if kind in ("conv", "depthwise_conv", "conv_transpose"):
        return _convolution(layer, name, part)
    if kind.removeprefix("bidirectional_") in ("simple_rnn", "lstm", "gru"):
        return _recurrent(layer, part)
    read = _OF_KIND.get(kind)
    return {} if read is None else read(layer)


_OF_KIND: dict[str, Callable[[Any], dict[str, Any]]] = {
    "batch_norm": lambda norm: {
        "epsilon": float(norm.epsilon),
        "decay": float(norm.momentum),
        "biased": True,
        "frozen": not norm.trainable,
    },
    "layer_norm": lambda norm: {"epsilon": float(norm.epsilon)},
    "group_norm": lambda norm: {"epsilon": float(norm.epsilon), "groups": int(norm.groups)},
    "embedding": lambda embedding: {"mask_zero": bool(embedding.mask_zero)},
    "attention": lambda attention: {
        "heads": int(attention.num_heads),
        "key_dim": int(attention.key_dim),
        "dropout": float(attention.dropout),
    },
}


_ENDINGS = ("_regularizer", "_constraint")


def _beside(layer: Any) -> dict[str, Any]:
    """What acts on a layer's weights beside their gradient: penalties and constraints."""
    inner = getattr(layer, "forward_layer", layer)
    owner = getattr(inner, "cell", inner)
    values = {name: value for name, value in vars(owner).items() if name.endswith(_ENDINGS)}
    return {name: _written(value) for name, value in values.items() if value is not None}


def _written(thing: Any) -> str:
    """A penalty or constraint as its call is written."""
    try:
        config = thing.get_config()
    # One of the user's own, without a configuration.
    except NotImplementedError:
        config = {}
    arguments = ", ".join(f"{name}={value!r}" for name, value in config.items())
    return f"{type(thing).__name__}({arguments})"


def _convolution(layer: Any, name: str, part: Part) -> dict[str, Any]:
    rank = layer.rank
    separable = (_K.SeparableConv1D, _K.SeparableConv2D)
    if isinstance(layer, separable) and name.endswith("/pointwise"):
        return {"strides": [1] * rank, "dilation": [1] * rank, "padding": "valid", "groups": 1}
    settings: dict[str, Any] = {
        "strides": _ints(layer.strides, rank),
        "dilation": _ints(layer.dilation_rate, rank),
        "padding": layer.padding,
    }
    if part.kind == "conv_transpose":
        padding = layer.output_padding
        return {**settings, "output_padding": None if padding is None else _ints(padding)}
    apart = part.kind == "depthwise_conv"
    groups = part.tensors["kernel"].shape[-2] if apart else getattr(layer, "groups", 1)
    return {**settings, "groups": int(groups)}


def _ints(value: Any, rank: int = 1) -> list[int]:
    """One number for each axis, of one for all of them or of a sequence."""
    numbers = [int(v) for v in (value if isinstance(value, (tuple, list)) else [value])]
    return numbers * rank if len(numbers) == 1 else numbers


def _recurrent(layer: Any, part: Part) -> dict[str, Any]:
    side = layer.forward_layer if isinstance(layer, _K.Bidirectional) else layer
    cell = side.cell
    # A GRU has two biases in Keras as well; of the others, Torch alone has a second one.
    biases = 2 if part.kind.endswith("gru") else 1
    settings: dict[str, Any] = {"activation": _function(cell.activation)}
    if hasattr(cell, "recurrent_activation"):
        settings["recurrent_activation"] = _function(cell.recurrent_activation)
    settings["trained_biases"] = biases if cell.use_bias else 0
    settings["go_backwards"] = bool(side.go_backwards)
    if side.stateful:
        settings["stateful"] = True
    return settings


def _function(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def optimizer_settings(model: keras.Model) -> dict[str, Any] | None:
    """See `Framework.optimizer_settings`."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return None
    rate = optimizer._learning_rate
    if isinstance(rate, keras.Variable) or not callable(rate):
        learning_rate: Any = float(to_numpy(rate))
    else:
        learning_rate = {"schedule": _function(rate)}
    settings = {"kind": type(optimizer).__name__.lower(), "learning_rate": learning_rate}
    for name in _NUMBERS:
        value = getattr(optimizer, name, None)
        if value is not None and not (name == "use_ema" and not value):
            settings[name] = value if isinstance(value, bool) else float(value)
    return {**settings, "weight_decay": _decays(optimizer)}


def _decays(optimizer: Any) -> float | list[float]:
    """The weight decay, or every value that a weight has where some are spared."""
    decay = float(optimizer.weight_decay or 0.0)
    names = "_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"
    spared = any(getattr(optimizer, name, None) for name in names)
    return [decay, 0.0] if decay and spared else decay


def loss_settings(model: keras.Model) -> dict[str, Any]:
    """See `Framework.loss_settings`."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        config = {**loss.get_config(), **getattr(loss, "_fn_kwargs", {})}
        more = {n: float(config[n]) for n in ("label_smoothing", "delta") if config.get(n)}
        return {
            "name": loss.name,
            "from_logits": config.get("from_logits"),
            "reduction": loss.reduction,
            **more,
        }
    if not callable(loss):
        return {}
    from_logits = inspect.signature(loss).parameters.get("from_logits")
    return {
        "name": _function(loss),
        "from_logits": None if from_logits is None else bool(from_logits.default),
        # What `compile` makes of a function.
        "reduction": "sum_over_batch_size",
    }


def random_parts(model: keras.Model) -> list[str]:
    """See `Framework.random_parts`."""
    return list(_random(model, ""))


def _random(layer: Any, path: str) -> Iterator[str]:
    whole = isinstance(layer, (_K.RNN, _K.MultiHeadAttention))
    rates: dict[str, float] = {}
    if isinstance(layer, _K.RNN):
        rates = {n: getattr(layer.cell, n, 0.0) for n in ("dropout", "recurrent_dropout")}
    elif isinstance(layer, _K.MultiHeadAttention):
        rates = {"dropout": layer.dropout}
    elif layer._seed_generators:
        values = ((name, getattr(layer, name, None)) for name in _RATES)
        numbers = ((n, v) for n, v in values if type(v) is not bool and isinstance(v, (int, float)))
        rates = dict(itertools.islice(numbers, 1))
        if not rates:
            yield f"{path} ({type(layer).__name__})"
    for name, rate in rates.items():
        if rate > 0:
            yield f"{path} ({type(layer).__name__}, {name} {rate:g})"
    for inner in () if whole else layer._flatten_layers(include_self=False, recursive=False):
        yield from _random(inner, f"{path}/{inner.name}".removeprefix("/"))
