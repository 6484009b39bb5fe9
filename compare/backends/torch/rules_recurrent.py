"""The rules of recurrent layers and of attention, whose own tensors hold several of Keras' each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compare.backends.torch.rules import RULES, Canonical, Known, Move, Rule

_KINDS = {nn.RNN: "simple_rnn", nn.LSTM: "lstm", nn.GRU: "gru"}


def recurrent_kind(layer: nn.RNNBase) -> str:
    """`"simple_rnn"`, `"lstm"` or `"gru"`."""
    return next(_KINDS[cls] for cls in type(layer).__mro__ if cls in _KINDS)


def _recurrent(layer: nn.RNNBase) -> dict[str, Known]:
    if layer.proj_size:
        raise TypeError(f"proj_size={layer.proj_size}: Keras has no projection; use a Linear")
    known = {index: _one_layer(layer, index) for index in range(layer.num_layers)}
    return {"" if len(known) == 1 else f"layer_{index}": one for index, one in known.items()}


def _one_layer(layer: nn.RNNBase, index: int) -> Known:
    kind = recurrent_kind(layer)
    if not layer.bidirectional:
        return Known(kind, _direction(layer, f"l{index}"))
    both = {
        f"{direction}/{name}": tensor
        for direction, ending in (("forward", ""), ("backward", "_reverse"))
        for name, tensor in _direction(layer, f"l{index}{ending}").items()
    }
    return Known(f"bidirectional_{kind}", both)


def _direction(layer: nn.RNNBase, ending: str) -> dict[str, Canonical]:
    gates = _update_first if recurrent_kind(layer) == "gru" else _as_they_are

    def kernel(t: Tensor) -> Tensor:
        return gates(t).t()

    tensors = {
        "kernel": Canonical((f"weight_ih_{ending}",), kernel),
        "recurrent_kernel": Canonical((f"weight_hh_{ending}",), kernel),
    }
    if layer.bias:
        own = (f"bias_ih_{ending}", f"bias_hh_{ending}")
        joined = "stack" if recurrent_kind(layer) == "gru" else "sum"
        tensors["bias"] = Canonical(own, gates, joined)
    return tensors


def _update_first(t: Tensor) -> Tensor:
    """A GRU's gates r, z, n as Keras has them: z, r, h."""
    r, z, n = t.chunk(3)
    return torch.cat([z, r, n])


def _as_they_are(t: Tensor) -> Tensor:
    return t


def _attention(layer: nn.MultiheadAttention) -> dict[str, Known]:
    if layer.bias_k is not None or layer.add_zero_attn:
        raise TypeError("bias_k, bias_v and zero attention are unknown to Keras: do without them")
    heads, size = layer.num_heads, layer.embed_dim

    def per_head(third: int | None) -> Move:
        def move(t: Tensor) -> Tensor:
            own = t if third is None else t[third * size : (third + 1) * size]
            # (heads · k, d) as (d, heads, k); a bias (heads · k,) as (heads, k).
            return own.t().unflatten(-1, (heads, -1))

        return move

    tensors: dict[str, Canonical] = {}
    for third, role in enumerate(("query", "key", "value")):
        if layer.in_proj_weight is None:
            # The projections have their own weights where their inputs differ in size.
            kernel = Canonical((f"{role[0]}_proj_weight",), per_head(None))
        else:
            kernel = Canonical(("in_proj_weight",), per_head(third))
        tensors[f"{role}/kernel"] = kernel
        tensors[f"{role}/bias"] = Canonical(("in_proj_bias",), per_head(third))
    out = Canonical(("out_proj.weight",), lambda t: t.t().unflatten(0, (heads, -1)))
    tensors |= {
        "attention_output/kernel": out,
        "attention_output/bias": Canonical(("out_proj.bias",)),
    }
    return {"": Known("attention", tensors)}


for _type in _KINDS:
    RULES[_type] = Rule(_recurrent)
RULES[nn.MultiheadAttention] = Rule(_attention, whole=True)
