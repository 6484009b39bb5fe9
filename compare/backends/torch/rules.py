"""How a layer's own tensors become canonical ones: a rule for every type of layer.

A rule names, for every canonical tensor, the layer's own tensors that it is made of and how their
elements move. Elements only ever move, so the way back follows from the way there, and one
declaration serves reading, writing, gradients and optimizer slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

import torch
from torch import Tensor, nn

from bn_torch.norm import BiasedBatchNorm

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
        found = [attrgetter(path)(layer) for path in self.own]
        return [] if any(t is None for t in found) else found

    def read(self, layer: nn.Module, of: Of, *, alone: bool = False) -> Tensor | None:
        """The canonical form of what `of` finds; None where it finds nothing.

        Args:
            layer: Has the tensors.
            of: Taken of each of them.
            alone: Take the first of what would be summed: each of two summands receives the
                gradient of their sum.
        """
        found = [of(t) for t in self.tensors(layer)]
        parts = [self.move(t) for t in found if t is not None]
        if not parts:
            return None
        if self.joined == "stack":
            rest = iter(parts)
            nothing = torch.zeros_like(parts[0])
            return torch.stack([nothing if t is None else next(rest) for t in found])
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

    layers: Callable[[nn.Module], dict[str, Known]]
    whole: bool = False


RULES: dict[type, Rule] = {}
"""Type → rule; of a module's classes, the most derived one counts."""


def rule_of(module: nn.Module) -> Rule | None:
    """The rule for a module, if there is one."""
    return next((RULES[cls] for cls in type(module).__mro__ if cls in RULES), None)


def add_rule(
    type_: type, names: Mapping[str, str | tuple[str, tuple[int, ...]]], *, kind: str | None = None
) -> None:
    """Register a rule of the user's; it replaces one that was there.

    Args:
        type_: The module's type.
        names: Canonical name → attribute path of the parameter or buffer, or that and the axes that
            bring it into the canonical layout, as in `numpy.transpose`.
        kind: What the layer counts as: the Keras type's name. By default, this type's.

    Raises:
        TypeError: `type_` is not a type of modules.
    """
    if not (isinstance(type_, type) and issubclass(type_, nn.Module)):
        raise TypeError(f"add_rule: expected a subclass of torch.nn.Module, received {type_!r}")
    known = Known(kind or type_.__name__, {key: _named(own) for key, own in names.items()})

    def layers(layer: nn.Module) -> dict[str, Known]:
        for own in names.values():
            _check_named(layer, own)
        return {"": known}

    RULES[type_] = Rule(layers, whole=True)


def forget_rule(layer_type: type) -> None:
    """Remove what `add_rule` registered for a type."""
    RULES.pop(layer_type, None)


def _check_named(layer: nn.Module, own: str | tuple[str, tuple[int, ...]]) -> None:
    path, axes = (own, None) if isinstance(own, str) else own
    try:
        found = attrgetter(path)(layer)
    except AttributeError:
        raise TypeError(f"its rule names {path!r}, which it does not have") from None
    if found is None:  # It goes without, as without a bias.
        return
    if not isinstance(found, Tensor):
        raise TypeError(f"its rule names {path!r}, which is no parameter or buffer")
    if axes is not None and sorted(axes) != list(range(found.ndim)):
        raise TypeError(f"its rule transposes {path!r}, {tuple(found.shape)}, by {tuple(axes)}")


def _named(own: str | tuple[str, tuple[int, ...]]) -> Canonical:
    if isinstance(own, str):
        return Canonical((own,))
    path, axes = own
    return Canonical((path,), lambda t: t.permute(*axes))


def swapped(t: Tensor) -> Tensor:
    """(out, in, …) as (…, in, out)."""
    return t.movedim((0, 1), (-1, -2))


_GAMMA_BETA = {"gamma": Canonical(("weight",)), "beta": Canonical(("bias",))}
_KERNEL_BIAS = {"kernel": Canonical(("weight",), swapped), "bias": Canonical(("bias",))}


def _convolution(layer: nn.Module) -> dict[str, Known]:
    if layer.groups == 1 or layer.groups != layer.in_channels:
        return {"": Known("conv", _KERNEL_BIAS)}

    def move(t: Tensor) -> Tensor:
        # (in · multiplier, 1, …): the outputs of one channel lie together, in Keras too.
        return swapped(t.squeeze(1).unflatten(0, (layer.groups, -1)).transpose(0, 1))

    kernel = Canonical(("weight",), move)
    return {"": Known("depthwise_conv", _KERNEL_BIAS | {"kernel": kernel})}


def _transposed(layer: nn.Module) -> dict[str, Known]:
    if layer.groups != 1:
        raise TypeError(f"groups={layer.groups}: Keras has none; split it into groups=1 layers")
    return {"": Known("conv_transpose", _KERNEL_BIAS)}


def _layer_norm(layer: nn.Module) -> dict[str, Known]:
    if len(layer.normalized_shape) != 1:
        raise TypeError(
            f"normalizes over {len(layer.normalized_shape)} axes: flatten them into one before it"
        )
    return {"": Known("layer_norm", _GAMMA_BETA)}


def _batch_norm(layer: nn.Module) -> dict[str, Known]:
    statistics = {
        "moving_mean": Canonical(("running_mean",)),
        "moving_variance": Canonical(("running_var",)),
    }
    return {"": Known("batch_norm", _GAMMA_BETA | statistics)}


def _always(kind: str, tensors: Mapping[str, Canonical]) -> Rule:
    return Rule(lambda layer: {"": Known(kind, tensors)})


RULES[nn.Linear] = _always("dense", _KERNEL_BIAS)
RULES[nn.Embedding] = _always("embedding", {"embeddings": Canonical(("weight",))})
RULES[nn.GroupNorm] = _always("group_norm", _GAMMA_BETA)
RULES[nn.LayerNorm] = Rule(_layer_norm)
for _type in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
    RULES[_type] = Rule(_convolution)
for _type in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d):
    RULES[_type] = Rule(_transposed)
for _type in (nn.modules.batchnorm._BatchNorm, BiasedBatchNorm):
    RULES[_type] = Rule(_batch_norm)


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
