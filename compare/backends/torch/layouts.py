"""What a layer receives and returns, in Keras' layout: samples first, channels last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from compare.backends.torch.structures import leaves

SPATIAL = ("conv", "depthwise_conv", "conv_transpose", "batch_norm", "group_norm")
"""Kinds of layers that have their channels on axis 1."""

Pick = Callable[[Tensor], Tensor]
"""From a tensor to what of it is recorded, in Keras' layout."""


def is_recurrent(kind: str) -> bool:
    """Whether a layer returns its outputs and its final state."""
    return kind.removeprefix("bidirectional_") in ("simple_rnn", "lstm", "gru")


def says_nothing(kind: str) -> bool:
    """Whether only a rule of the user's knows a layer: nobody says which axis has its channels."""
    return kind not in (*_ONE_INPUT, "attention") and not is_recurrent(kind)


def channels_last(x: Tensor) -> Tensor:
    """Channels from axis 1 to the last: (n, c, …) to (n, …, c)."""
    return x.movedim(1, -1) if x.ndim > 2 else x


def canonical(kind: str, module: nn.Module, times: TimeFirst) -> Pick:
    """Puts what a layer receives, or what it returns, into Keras' layout."""
    if kind in SPATIAL:
        return channels_last
    if is_recurrent(kind) or kind == "attention":
        return lambda x: x if module.batch_first or x.ndim < 3 else x.transpose(0, 1)
    return times.samples_first


@dataclass(frozen=True)
class TimeFirst:
    """Tells sequences (t, n, …) from (n, t, …) where a layer takes both.

    Attributes:
        samples: Number of samples; None to move nothing.
        usual: Whether all layers that say so take time first: decides where t is n.
    """

    samples: int | None = None
    usual: bool = False

    @classmethod
    def of(cls, root: nn.Module, samples: int | None) -> TimeFirst:
        """As a module's layers have it: where none takes time first, nothing is moved."""
        said = {
            part.batch_first
            for part in root.modules()
            if isinstance(part, (nn.RNNBase, nn.MultiheadAttention))
        }
        return cls(samples if False in said else None, said == {False})

    def samples_first(self, x: Tensor) -> Tensor:
        """(t, n, …) as (n, t, …); anything else as it is."""
        n = self.samples
        if n is None or x.ndim < 2 or x.shape[1] != n or (x.shape[0] == n and not self.usual):
            return x
        # (n, features) where there are as many features as samples.
        return x if x.ndim == 2 and x.is_floating_point() else x.transpose(0, 1)


def roles(kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, int | str]:
    """Where the tensors that a layer computes on stand in a call: role → position or keyword.

    Args:
        kind: The kind of layer.
        args: Positional arguments of the call.
        kwargs: Its keyword arguments.
    """
    if kind == "attention":
        places = {name: at for at, name in enumerate(("query", "key", "value")) if at < len(args)}
        places |= {name: name for name in ("query", "key", "value") if name in kwargs}
        if len(places) < 3:
            return {}  # It is about to raise.
        value, key = (args[at] if isinstance(at := places[n], int) else kwargs[at] for n in _VK)
        found = {"input": places["query"], "input_value": places["value"]}
        # A key that is the value has no gradient of its own.
        return found | ({"input_key": places["key"]} if key is not value else {})
    everything = [*enumerate(args), *kwargs.items()]
    tensors = [at for at, value in everything if isinstance(value, (Tensor, PackedSequence))]
    several = kind not in _ONE_INPUT and not is_recurrent(kind)
    return {
        f"input_{count}" if count else "input": at
        for count, at in enumerate(tensors)
        if several or count == 0
    }


_VK = ("value", "key")
_ONE_INPUT = (*SPATIAL, "dense", "layer_norm", "embedding")


def padded(x: PackedSequence) -> Tensor:
    """Sequences of different lengths as one tensor, (n, t, …), zeros after their ends."""
    return pad_packed_sequence(x, batch_first=True)[0]


@dataclass(frozen=True)
class Out:
    """A tensor that a layer returned, and where the layer's canonical output is in it."""

    tensor: Tensor
    pick: Pick


def outputs(kind: str, module: nn.Module, output: Any, times: TimeFirst) -> tuple[Out, list[Out]]:
    """The canonical output of a layer, and the tensors through which its gradient comes back.

    A recurrent layer's is its final state, which is the last of its outputs too: the gradient comes
    back on both ways.

    Args:
        kind: The kind of layer.
        module: The layer.
        output: What it returned.
        times: Tells sequences that have time first.
    """
    if is_recurrent(kind):
        return _final_state(module, output)
    tensor = next(leaf for _, leaf in leaves(output) if isinstance(leaf, Tensor))
    out = Out(tensor, canonical(kind, module, times))
    return out, [out]


def _final_state(module: nn.RNNBase, output: Any) -> tuple[Out, list[Out]]:
    sequence, state = output
    state = state[0] if isinstance(state, tuple) else state
    units = module.hidden_size

    def last(h: Tensor) -> Tensor:
        return torch.cat([h[-2], h[-1]], -1) if module.bidirectional else h[-1]

    def at_the_end(y: Tensor) -> Tensor:
        y = y if module.batch_first or y.ndim < 3 else y.transpose(0, 1)
        ends = [y[..., -1, :units]]
        return torch.cat([*ends, y[..., 0, units:]], -1) if module.bidirectional else ends[0]

    out = Out(state, last)
    if isinstance(sequence, PackedSequence):
        # Where a sequence ends differs by sample: no gradient of the final state alone.
        return out, []
    return out, [out, Out(sequence, at_the_end)]
