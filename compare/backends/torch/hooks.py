"""What passes through the weighted layers of a module: values forward, gradients back.

`Recording` puts hooks on the layers and hands over what they receive and return in Keras' layout:
samples first, channels last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from compare.backends.protocol import Sink
from compare.backends.structures import leaves
from compare.backends.torch.rules import ONE_INPUT, SPATIAL, is_recurrent
from compare.backends.torch.structures import to_numpy
from compare.backends.torch.weights import Layer, weighted_layers

Pick = Callable[[Tensor], Tensor]
"""From a tensor to what of it is recorded, in Keras' layout."""


class Recording:
    """Inputs and outputs of weighted layers, and the gradients of the loss with respect to them.

    Everything is handed over as soon as it is known, and nothing is kept. A layer that runs again
    is noted again, as `name#2`. What a layer received is there even if the layer then raised.

    Args:
        root: The module whose layers are watched.
        sink: Receives `<mode>/<layer>/{input,output}` and `backward/<layer>/{input,output}`; it may
            have a method `alias(new, old)`, called for an input that is the output just recorded.
            None to note the order of the layers alone.
        mode: `"training"` or `"evaluation"`.
        samples: Number of samples, to tell sequences that have time first.

    Attributes:
        order: The layers that ran, each as it was noted.
        frozen: Names of the layers that ran as in inference.
        returned: Kind and shape, as Torch has it, of every output, in order.
        times: Tells sequences that have time first.
        received: Number of axes of what the first layer received.
    """

    def __init__(
        self,
        root: nn.Module,
        sink: Sink | None = None,
        mode: str = "training",
        *,
        samples: int | None = None,
    ) -> None:
        self._root, self._sink, self._mode = root, sink, mode
        self.times = TimeFirst.of(root, samples)
        self._running: dict[nn.Module, list[str]] = {}
        self._sums: dict[str, Tensor] = {}
        self._before: tuple[str, Tensor, int] | None = None
        self.order: list[str] = []
        self.frozen: set[str] = set()
        self.returned: list[tuple[str, torch.Size]] = []
        self.received: int | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what passes while the block runs; gradients are noted as long as they come."""
        hooks = []
        for module, group in groupby(weighted_layers(self._root).values(), lambda x: x.module):
            enter, leave = self._hooks(module, list(group))
            hooks.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            hooks.append(module.register_forward_hook(leave))
        try:
            yield
        finally:
            self._before = None
            for hook in hooks:
                hook.remove()

    def _hooks(self, module: nn.Module, layers: Sequence[Layer]) -> tuple[Callable[..., Any], ...]:
        kind = layers[0].kind

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            keys = self._running[module] = [self._ran(layer) for layer in layers]
            return self._enter(keys[0], layers[0], args, kwargs)

        def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            key = f"{self._running[module][-1]}/output"
            out, ways_back = _outputs(kind, module, output, self.times)
            self.returned.append((kind, out.tensor.shape))
            self._note(key, out.pick(out.tensor.detach()))
            for way in ways_back:
                self._back(key, way, several=len(ways_back) > 1)

        return enter, leave

    def _ran(self, layer: Layer) -> str:
        times = sum(key.partition("#")[0] == layer.name for key in self.order)
        self.order.append(f"{layer.name}#{times + 1}" if times else layer.name)
        if not layer.module.training:
            self.frozen.add(layer.name)
        return self.order[-1]

    def _enter(
        self, key: str, layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Note what a layer receives, and let it go in through a tap of this layer's own."""
        call: dict[int | str, Any] = dict([*enumerate(args), *kwargs.items()])
        taps: dict[int, Any] = {}
        roles = _roles(layer.kind, call)
        times = Counter(id(call[place]) for place in roles.values())
        for role, place in roles.items():
            value = call[place]
            if self.received is None:
                self.received = _data(value).ndim
            pick = _to_keras(layer.kind, layer.module, self.times)
            if isinstance(value, PackedSequence):
                pick = partial(_padded, value)
            # What comes back to one tensor in two places cannot be told apart.
            if times[id(value)] == 1:
                taps[id(value)] = self._tap(f"{key}/{role}", value, pick)
            self._note(f"{key}/{role}", pick(_data(value).detach()))
        # A value's tap is in all its places: a key that is the value stays it.
        call = {place: taps.get(id(value), value) for place, value in call.items()}
        return tuple(call.pop(at) for at in range(len(args))), {str(k): v for k, v in call.items()}

    def _tap(self, key: str, value: Tensor | PackedSequence, pick: Pick) -> Any:
        """The same values, by a way of their own: the gradient that comes back is one part."""
        data = _data(value)
        if not (data.requires_grad and torch.is_grad_enabled()):
            return value
        tap = data.view_as(data)
        self._back(key, _Out(tap, pick), several=False)
        return _packed(value, tap) if isinstance(value, PackedSequence) else tap

    def _note(self, key: str, tensor: Tensor) -> None:
        if self._sink is None:
            return
        name, before = f"{self._mode}/{key}", self._before
        alias = getattr(self._sink, "alias", None)
        if alias is not None and before is not None and _same(before[1], before[2], tensor):
            alias(name, before[0])
        else:
            # A copy: what follows may work in place.
            self._sink(name, to_numpy(tensor))
        if key.endswith("/output"):
            self._before = name, tensor, _version(tensor)

    def _back(self, key: str, way: _Out, *, several: bool) -> None:
        """Note the gradient; what comes back on two ways, as an LSTM's last output, adds up."""
        sink = self._sink
        if sink is None or not way.tensor.requires_grad or not torch.is_grad_enabled():
            return

        def hook(gradient: Tensor) -> None:
            part = way.pick(gradient.detach())
            if not several:
                sink(f"backward/{key}", to_numpy(part))
            else:
                self._sums[key] = self._sums[key] + part if key in self._sums else part.clone()

        way.tensor.register_hook(hook)

    def finish(self) -> None:
        """Hand over the gradients that came back on several ways; call it after the last."""
        for key, gradient in self._sums.items():
            if self._sink is not None:
                self._sink(f"backward/{key}", to_numpy(gradient))
        self._sums.clear()


def channels_last(x: Tensor) -> Tensor:
    """Channels from axis 1 to the last: (n, c, …) to (n, …, c)."""
    return x.movedim(1, -1) if x.ndim > 2 else x


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
        declared = {
            part.batch_first
            for part in root.modules()
            if isinstance(part, (nn.RNNBase, nn.MultiheadAttention))
        }
        return cls(samples if False in declared else None, declared == {False})

    def samples_first(self, x: Tensor) -> Tensor:
        """(t, n, …) as (n, t, …); anything else as it is."""
        n = self.samples
        if n is None or x.ndim < 2 or x.shape[1] != n or (x.shape[0] == n and not self.usual):
            return x
        # (n, features) where there are as many features as samples.
        return x if x.ndim == 2 and x.is_floating_point() else x.transpose(0, 1)


def _to_keras(kind: str, module: Any, times: TimeFirst) -> Pick:
    """Puts what a layer receives, or what it returns, into Keras' layout."""
    if kind in SPATIAL:
        return channels_last
    if is_recurrent(kind) or kind == "attention":
        return lambda x: x if module.batch_first or x.ndim < 3 else x.transpose(0, 1)
    return times.samples_first


def _roles(kind: str, call: dict[int | str, Any]) -> dict[str, int | str]:
    """Where the tensors that a layer computes on stand in a call: role → position or keyword."""
    if kind == "attention":
        names = ("query", "key", "value")
        places = {name: at if at in call else name for at, name in enumerate(names)}
        if not all(place in call for place in places.values()):
            return {}  # It is about to raise.
        roles = {"input": places["query"], "input_value": places["value"]}
        # A key that is the value has no gradient of its own.
        if call[places["key"]] is not call[places["value"]]:
            roles["input_key"] = places["key"]
        return roles
    tensors = [at for at, value in call.items() if isinstance(value, (Tensor, PackedSequence))]
    if kind in ONE_INPUT or is_recurrent(kind):
        tensors = tensors[:1]
    return {f"input_{count}" if count else "input": at for count, at in enumerate(tensors)}


@dataclass(frozen=True)
class _Out:
    """A tensor that a layer returned, and where the layer's canonical output is in it."""

    tensor: Tensor
    pick: Pick


def _outputs(kind: str, module: Any, output: Any, times: TimeFirst) -> tuple[_Out, list[_Out]]:
    """The canonical output of a layer, and the tensors through which its gradient comes back.

    A recurrent layer's is its final state, which is the last of its outputs too: the gradient comes
    back on both ways.
    """
    if not is_recurrent(kind):
        tensor = next(leaf for _, leaf in leaves(output) if isinstance(leaf, Tensor))
        out = _Out(tensor, _to_keras(kind, module, times))
        return out, [out]
    sequence, state = output
    units, both_ways = module.hidden_size, module.bidirectional

    def last(h: Tensor) -> Tensor:
        return torch.cat([h[-2], h[-1]], -1) if both_ways else h[-1]

    def at_the_end(y: Tensor) -> Tensor:
        y = y if module.batch_first or y.ndim < 3 else y.transpose(0, 1)
        end = y[..., -1, :units]
        return torch.cat([end, y[..., 0, units:]], -1) if both_ways else end

    final = _Out(state[0] if isinstance(state, tuple) else state, last)
    if isinstance(sequence, PackedSequence):
        # Where a sequence ends differs by sample: no gradient of the final state alone.
        return final, []
    return final, [final, _Out(sequence, at_the_end)]


def _data(value: Tensor | PackedSequence) -> Tensor:
    return value.data if isinstance(value, PackedSequence) else value


def _packed(like: PackedSequence, data: Tensor) -> PackedSequence:
    return PackedSequence(data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)


def _padded(like: PackedSequence, data: Tensor) -> Tensor:
    """Sequences of different lengths as one tensor, (n, t, …), zeros after their ends."""
    padded, _ = pad_packed_sequence(_packed(like, data), batch_first=True)
    return padded


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _same(before: Tensor, version: int, tensor: Tensor) -> bool:
    """Whether a tensor is the very one noted before, and nothing worked on it in place."""
    return (
        version >= 0
        and version == _version(tensor)
        and before.data_ptr() == tensor.data_ptr()
        and (before.shape, before.stride()) == (tensor.shape, tensor.stride())
    )
