"""The settings of layers under Keras' names and by Keras' conventions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from bn_torch.norm import BiasedBatchNorm
from compare.backends.torch.layouts import is_recurrent
from compare.backends.torch.rules_recurrent import recurrent_kind
from compare.backends.torch.weights import Layer

Settings = dict[str, Any]


def settings(layer: Layer, *, frozen: bool = False) -> Settings:
    """What a layer does beside its weights, as JSON; empty where nothing is known.

    Args:
        layer: The layer.
        frozen: Whether it stays in inference mode while the rest trains.
    """
    if layer.kind == "batch_norm":
        return _batch_norm(layer.module, frozen)
    if is_recurrent(layer.kind):
        return _recurrent(layer)
    found = _OF_KIND.get(layer.kind)
    return found(layer.module) if found is not None and _is_stock(layer.module) else {}


def _is_stock(module: nn.Module) -> bool:
    """Whether it is, or derives from, a layer of Torch: a rule of the user's may borrow a kind."""
    return any(cls.__module__.startswith("torch.nn.modules") for cls in type(module).__mro__[:-2])


def _batch_norm(norm: nn.Module, frozen: bool) -> Settings:
    if not isinstance(norm, (nn.modules.batchnorm._BatchNorm, BiasedBatchNorm)):
        return {"frozen": frozen}
    found = {
        "epsilon": norm.eps,
        # Torch counts the share of the new batch; None is the mean of all batches so far.
        "decay": None if norm.momentum is None else 1.0 - norm.momentum,
        "frozen": frozen,
    }
    if isinstance(norm, BiasedBatchNorm):
        found["biased"] = True
    elif type(norm).__module__.startswith("torch.nn."):
        # What a subclass tracks is its own affair.
        found["biased"] = False
    return found


def _recurrent(layer: Layer) -> Settings:
    rnn = layer.module
    if not isinstance(rnn, nn.RNNBase):
        return {}
    kind = recurrent_kind(rnn)
    found: Settings = {
        "activation": rnn.nonlinearity if kind == "simple_rnn" else "tanh",
        "trained_biases": _trained_biases(layer),
        "batch_first": rnn.batch_first,
    }
    if kind != "simple_rnn":
        found["recurrent_activation"] = "sigmoid"
    return found


def _trained_biases(layer: Layer) -> int:
    bias = next((c for name, c in layer.known.items() if name.endswith("bias")), None)
    return 0 if bias is None else sum(t.requires_grad for t in bias.tensors(layer.module))


def _convolution(conv: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> Settings:
    found = {
        "strides": list(conv.stride),
        "dilation": list(conv.dilation),
        "groups": conv.groups,
        "padding": _padding(conv.padding),
    }
    if conv.padding_mode != "zeros":
        found["padding_mode"] = conv.padding_mode
    return found


def _padding(declared: str | tuple[int, ...]) -> str | list[int]:
    if isinstance(declared, str):
        return declared
    return list(declared) if any(declared) else "valid"


def _transposed(conv: nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d) -> Settings:
    return {
        "strides": list(conv.stride),
        "dilation": list(conv.dilation),
        "padding": _padding(conv.padding),
        "output_padding": list(conv.output_padding),
    }


def _attention(attention: nn.MultiheadAttention) -> Settings:
    return {
        "heads": attention.num_heads,
        "key_dim": attention.head_dim,
        "dropout": float(attention.dropout),
    }


_OF_KIND: dict[str, Callable[[Any], Settings]] = {
    "conv": _convolution,
    "depthwise_conv": _convolution,
    "conv_transpose": _transposed,
    "layer_norm": lambda norm: {"epsilon": norm.eps},
    "group_norm": lambda norm: {"epsilon": norm.eps, "groups": norm.num_groups},
    "embedding": lambda embedding: {"padding_idx": embedding.padding_idx},
    "attention": _attention,
}
