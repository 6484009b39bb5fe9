"""How a layer's own tensors become canonical ones: a rule for every type of layer.

A rule names, for every canonical tensor, the layer's own tensors that it is made of and how their
elements move. Elements only ever move, so the way back follows from the way there, and one
declaration serves reading, writing, gradients and optimizer slots.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bn_torch.norm import BiasedBatchNorm
from compare.backends.protocol import Names

Of = Callable[[Tensor], Tensor | None]
"""What to take of a parameter or buffer: itself, its gradient, its slot in an optimizer."""

Move = Callable[[Tensor], Tensor]
"""Picks elements of a layer's own tensor and puts them into the canonical layout."""


@dataclass(frozen=True)
class Canonical:
    """One canonical tensor of a layer.

    Attributes:
        own: Paths of the layer's own tensors: one, or two that `joined` makes one.
        move: Into the canonical layout; a view where that is possible.
        joined: `"sum"`: two of which Keras has the sum; the first takes what is written, the other
            zeros. `"stack"`: two of which Keras has both, along a new first axis.
    """

    own: tuple[str, ...]
    move: Move = lambda t: t
    joined: Literal["sum", "stack"] = "sum"

    def tensors(self, layer: nn.Module) -> list[Tensor]:
        """The layer's own tensors; empty where the layer goes without, as without a bias."""
        tensors = [attrgetter(path)(layer) for path in self.own]
        return [] if any(t is None for t in tensors) else tensors

    def read(self, layer: nn.Module, of: Of, *, alone: bool = False) -> Tensor | None:
        """The canonical form of what `of` returns; None where that is None.

        Args:
            layer: Has the tensors.
            of: Taken of each of them.
            alone: Take the first of what would be summed: each of two summands receives the
                gradient of their sum.
        """
        own = [of(t) for t in self.tensors(layer)]
        parts = [self.move(t) for t in own if t is not None]
        if not parts:
            return None
        if self.joined == "stack":
            rest = iter(parts)
            nothing = torch.zeros_like(parts[0])
            return torch.stack([nothing if t is None else next(rest) for t in own])
        return parts[0] if alone or len(parts) == 1 else parts[0] + parts[1]

    @torch.no_grad()
    def write(self, layer: nn.Module, value: Tensor) -> None:
        """Set the layer's own tensors so that `read` returns the value."""
        values = [value, torch.zeros_like(value)] if self.joined == "sum" else value.unbind()
        for tensor, part in zip(self.tensors(layer), values, strict=False):
            places = self.move(torch.arange(tensor.numel()).reshape(tensor.shape))
            # A copy: a weight may lie in memory in another order than its elements.
            flat = tensor.flatten().clone()
            flat[places.flatten()] = part.flatten().to(flat)
            tensor.copy_(flat.reshape(tensor.shape))

    def trained(self, layer: nn.Module) -> int:
        """Number of trained values; of two that are summed, one counts."""
        counts = [self.move(t).numel() for t in self.tensors(layer) if t.requires_grad]
        return sum(counts) if self.joined == "stack" else max(counts, default=0)


@dataclass(frozen=True)
class Known:
    """What a rule knows of a layer: its kind, and canonical name → tensor."""

    kind: str
    tensors: Mapping[str, Canonical]


@dataclass(frozen=True)
class Rule:
    """The rule for a type.

    Attributes:
        layers: The layers that a module of this type counts as, by what is appended to its path:
            usually one, `""`. Raises a TypeError that says why, and what to do, for one that has no
            canonical form.
        whole: Whether the modules within are parts of it, and no layers of their own.
    """

    layers: Callable[[Any], dict[str, Known]]
    whole: bool = False


SPATIAL = ("conv", "depthwise_conv", "conv_transpose", "batch_norm", "group_norm")
"""Kinds of layers that have their channels on axis 1."""

ONE_INPUT = (*SPATIAL, "dense", "layer_norm", "embedding")
"""Kinds of layers that compute on the first tensor that they receive."""

RULES: ChainMap[type, Rule] = ChainMap({}, {})
"""Type → rule, the user's before built-in ones; the most derived of a module's classes counts."""


def is_recurrent(kind: str) -> bool:
    """Whether a layer returns its outputs and its final state."""
    return kind.removeprefix("bidirectional_") in _RECURRENT.values()


def says_nothing(kind: str) -> bool:
    """Whether only a rule of the user's knows a layer: nobody says which axis has its channels."""
    return kind not in (*ONE_INPUT, "attention") and not is_recurrent(kind)


def rule_of(module: nn.Module) -> Rule | None:
    """The rule for a module, if there is one."""
    return next((RULES[cls] for cls in type(module).__mro__ if cls in RULES), None)


def add_rule(layer_type: type, names: Names, *, kind: str | None = None) -> None:
    """Register a rule of the user's; it replaces one that was there."""
    if not (isinstance(layer_type, type) and issubclass(layer_type, nn.Module)):
        raise TypeError(
            f"add_rule: expected a subclass of torch.nn.Module, received {layer_type!r}"
        )
    paths = {name: (own, None) if isinstance(own, str) else own for name, own in names.items()}

    def canonical(layer: nn.Module, path: str, axes: Sequence[int] | None) -> Canonical:
        try:
            tensor = attrgetter(path)(layer)
        except AttributeError:
            raise TypeError(f"its rule names {path!r}, which it does not have") from None
        if tensor is None:  # It goes without, as without a bias.
            return Canonical((path,))
        if not isinstance(tensor, Tensor):
            raise TypeError(f"its rule names {path!r}, which is no parameter or buffer")
        if axes is None:
            return Canonical((path,))
        if sorted(axes) != list(range(tensor.ndim)):
            raise TypeError(
                f"its rule transposes {path!r}, {tuple(tensor.shape)}, by {tuple(axes)}"
            )
        return Canonical((path,), lambda t: t.permute(*axes))

    def layers(layer: nn.Module) -> dict[str, Known]:
        tensors = {name: canonical(layer, *path) for name, path in paths.items()}
        return {"": Known(kind or layer_type.__name__, tensors)}

    RULES[layer_type] = Rule(layers, whole=True)


def forget_rule(layer_type: type) -> None:
    """Remove a rule of the user's; a built-in one that it replaced is back."""
    RULES.pop(layer_type, None)


# The built-in rules.


def swapped(t: Tensor) -> Tensor:
    """(out, in, …) as (…, in, out)."""
    return t.movedim((0, 1), (-1, -2))


_GAMMA_BETA = {"gamma": Canonical(("weight",)), "beta": Canonical(("bias",))}
_KERNEL_BIAS = {"kernel": Canonical(("weight",), swapped), "bias": Canonical(("bias",))}
_STATISTICS = {
    "moving_mean": Canonical(("running_mean",)),
    "moving_variance": Canonical(("running_var",)),
}


def _whole(kind: str, tensors: Mapping[str, Canonical]) -> Rule:
    return Rule(lambda layer: {"": Known(kind, tensors)})


def _convolution(layer: Any) -> dict[str, Known]:
    if layer.groups == 1 or layer.groups != layer.in_channels:
        return {"": Known("conv", _KERNEL_BIAS)}

    def move(t: Tensor) -> Tensor:
        # (in · multiplier, 1, …): the outputs of one channel lie together, in Keras too.
        return swapped(t.squeeze(1).unflatten(0, (layer.groups, -1)).transpose(0, 1))

    kernel = Canonical(("weight",), move)
    return {"": Known("depthwise_conv", _KERNEL_BIAS | {"kernel": kernel})}


def _transposed(layer: Any) -> dict[str, Known]:
    if layer.groups != 1:
        raise TypeError(f"groups={layer.groups}: Keras has none; split it into groups=1 layers")
    return {"": Known("conv_transpose", _KERNEL_BIAS)}


def _layer_norm(layer: nn.LayerNorm) -> dict[str, Known]:
    if len(layer.normalized_shape) != 1:
        raise TypeError(
            f"normalizes over {len(layer.normalized_shape)} axes: flatten them into one before it"
        )
    return {"": Known("layer_norm", _GAMMA_BETA)}


_RECURRENT = {nn.RNN: "simple_rnn", nn.LSTM: "lstm", nn.GRU: "gru"}


def recurrent_kind(layer: nn.RNNBase) -> str:
    """`"simple_rnn"`, `"lstm"` or `"gru"`."""
    return next(kind for cls, kind in _RECURRENT.items() if isinstance(layer, cls))


def _recurrent(layer: nn.RNNBase) -> dict[str, Known]:
    if layer.proj_size:
        raise TypeError(f"proj_size={layer.proj_size}: Keras has no projection; use a Linear")
    known = {f"layer_{index}": _one_layer(layer, index) for index in range(layer.num_layers)}
    return known if len(known) > 1 else {"": known["layer_0"]}


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
    gru = recurrent_kind(layer) == "gru"
    gates = _update_first if gru else lambda t: t
    tensors = {
        "kernel": Canonical((f"weight_ih_{ending}",), lambda t: gates(t).t()),
        "recurrent_kernel": Canonical((f"weight_hh_{ending}",), lambda t: gates(t).t()),
    }
    if layer.bias:
        own = (f"bias_ih_{ending}", f"bias_hh_{ending}")
        tensors["bias"] = Canonical(own, gates, "stack" if gru else "sum")
    return tensors


def _update_first(t: Tensor) -> Tensor:
    """A GRU's gates r, z, n as Keras has them: z, r, h."""
    r, z, n = t.chunk(3)
    return torch.cat([z, r, n])


def _attention(layer: nn.MultiheadAttention) -> dict[str, Known]:
    if layer.bias_k is not None or layer.add_zero_attn:
        raise TypeError("bias_k, bias_v and zero attention are unknown to Keras: do without them")
    heads, size = layer.num_heads, layer.embed_dim

    def per_head(third: int | None) -> Move:
        def move(t: Tensor) -> Tensor:
            own = t if third is None else t[third * size : (third + 1) * size]
            # (heads · k, d) as (d, heads, k); a bias (heads · k,) as (heads, k).
            split: Tensor = own.t().unflatten(-1, (heads, -1))
            return split

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


_BATCH_NORM = _whole("batch_norm", _GAMMA_BETA | _STATISTICS)

RULES.maps[1].update(
    {
        nn.Linear: _whole("dense", _KERNEL_BIAS),
        nn.Embedding: _whole("embedding", {"embeddings": Canonical(("weight",))}),
        **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), Rule(_convolution)),
        **dict.fromkeys(
            (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), Rule(_transposed)
        ),
        nn.GroupNorm: _whole("group_norm", _GAMMA_BETA),
        nn.LayerNorm: Rule(_layer_norm),
        **dict.fromkeys((nn.modules.batchnorm._BatchNorm, BiasedBatchNorm), _BATCH_NORM),
        **dict.fromkeys(_RECURRENT, Rule(_recurrent)),
        nn.MultiheadAttention: Rule(_attention, whole=True),
    }
)
