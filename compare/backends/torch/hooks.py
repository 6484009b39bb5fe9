"""What passes through the weighted layers of a module: values forward, gradients back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from compare.backends.torch import layouts
from compare.backends.torch.weights import Layer, to_numpy, weighted_layers

Sink = Callable[[str, np.ndarray], None]


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
        self.times = layouts.TimeFirst.of(root, samples)
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
            out, back = layouts.outputs(kind, module, output, self.times)
            self.returned.append((kind, out.tensor.shape))
            self._note(key, out.pick(out.tensor.detach()))
            for way in back:
                self._back(key, way, several=len(back) > 1)

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
        canonical = layouts.canonical(layer.kind, layer.module, self.times)
        call: dict[int | str, Any] = {**dict(enumerate(args)), **kwargs}
        taps: dict[int, Any] = {}
        roles = layouts.roles(layer.kind, args, kwargs)
        times = Counter(id(call[place]) for place in roles.values())
        for role, place in roles.items():
            value = call[place]
            if self.received is None:
                self.received = _data(value).ndim
            # What comes back to one tensor in two places cannot be told apart.
            if times[id(value)] == 1:
                taps[id(value)] = self._tap(f"{key}/{role}", value, canonical)
            self._note(f"{key}/{role}", _detached(value, canonical))
        # A value's tap is in all its places: a key that is the value stays it.
        call = {place: taps.get(id(value), value) for place, value in call.items()}
        return tuple(call.pop(at) for at in range(len(args))), call

    def _tap(self, key: str, value: Any, canonical: layouts.Pick) -> Any:
        """The same values, by a way of their own: the gradient that comes back is one part."""
        data = _data(value)
        if not (data.requires_grad and torch.is_grad_enabled()):
            return value
        tap = data.view_as(data)
        if not isinstance(value, PackedSequence):
            self._back(key, layouts.Out(tap, canonical), several=False)
            return tap
        self._back(
            key, layouts.Out(tap, lambda g: layouts.padded(_packed(value, g))), several=False
        )
        return _packed(value, tap)

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

    def _back(self, key: str, way: layouts.Out, *, several: bool) -> None:
        """Note the gradient; what comes back on two ways, as an LSTM's last output, adds up."""
        if self._sink is None or not way.tensor.requires_grad or not torch.is_grad_enabled():
            return

        def hook(gradient: Tensor) -> None:
            found = way.pick(gradient.detach())
            if not several:
                self._sink(f"backward/{key}", to_numpy(found))
            else:
                self._sums[key] = self._sums[key] + found if key in self._sums else found.clone()

        way.tensor.register_hook(hook)

    def finish(self) -> None:
        """Hand over the gradients that came back on several ways; call it after the last."""
        for key, gradient in self._sums.items():
            self._sink(f"backward/{key}", to_numpy(gradient))
        self._sums.clear()


def _data(value: Tensor | PackedSequence) -> Tensor:
    return value.data if isinstance(value, PackedSequence) else value


def _packed(like: PackedSequence, data: Tensor) -> PackedSequence:
    return PackedSequence(data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)


def _detached(value: Tensor | PackedSequence, canonical: layouts.Pick) -> Tensor:
    if isinstance(value, PackedSequence):
        return layouts.padded(_packed(value, value.data.detach()))
    return canonical(value.detach())


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
