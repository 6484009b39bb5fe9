"""What passes through the weighted layers of a module: values forward, gradients back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bn_torch import weights

Sink = Callable[[str, np.ndarray], None]


class Recording:
    """Inputs and outputs of weighted layers, and the gradients of the loss with respect to them.

    A layer that runs again is noted again, as `name#2`. What a layer received is there even if the
    layer then raised.

    Args:
        root: The module whose layers are watched.
    """

    def __init__(self, root: nn.Module) -> None:
        self._root = root
        self._passed: dict[str, Tensor] = {}
        self._returned: dict[str, Tensor] = {}
        self.order: list[str] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what passes while the block runs."""
        hooks = []
        for name, layer in weights.weighted_layers(self._root).items():
            enter, leave = self._hooks(name, layer)
            hooks += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hooks(self, name: str, layer: nn.Module) -> tuple[Callable[..., None], ...]:
        def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
            times = sum(key.partition("#")[0] == name for key in self.order)
            self.order.append(f"{name}#{times + 1}" if times else name)
            self._note(f"{self.order[-1]}/input", args[0], lambda x: _entered(layer, x))

        def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            key = next(key for key in reversed(self.order) if key.partition("#")[0] == name)
            if weights.kind(layer) != "lstm":
                self._note(f"{key}/output", output, lambda y: _left(layer, y))
                return
            time = 1 if layer.batch_first else 0
            self._note(f"{key}/output", output[1][0], lambda h: h[-1])
            self._back(f"{key}/output", output[0], lambda y: y.select(time, -1))

        return enter, leave

    def _note(self, key: str, tensor: Tensor, canonical: Callable[[Tensor], Tensor]) -> None:
        # A copy: what follows may work in place.
        self._passed[key] = canonical(tensor.detach()).clone()
        self._back(key, tensor, canonical)

    def _back(self, key: str, tensor: Tensor, canonical: Callable[[Tensor], Tensor]) -> None:
        """Note the gradient; what comes back on two ways, as an LSTM's last output, adds up."""

        def hook(gradient: Tensor) -> None:
            found = canonical(gradient.detach())
            before = self._returned.get(key)
            self._returned[key] = found.clone() if before is None else before + found

        if tensor.requires_grad and torch.is_grad_enabled():
            tensor.register_hook(hook)

    def forward(self, sink: Sink, mode: str) -> None:
        """Hand over inputs and outputs, as `<mode>/<layer>/{input,output}`."""
        for key, tensor in self._passed.items():
            sink(f"{mode}/{key}", tensor.cpu().numpy())

    def backward(self, sink: Sink) -> None:
        """Hand over gradients, as `backward/<layer>/{input,output}`."""
        for key, tensor in self._returned.items():
            sink(f"backward/{key}", tensor.cpu().numpy())


def _entered(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer's input in Keras' form: channels last, samples before time steps."""
    rule = weights.kind(layer)
    if rule == "lstm":
        return x if layer.batch_first else x.transpose(0, 1)
    return _left(layer, x)


def _left(layer: nn.Module, y: Tensor) -> Tensor:
    return channels_last(y) if weights.kind(layer) in ("conv", "batch_norm") else y


def channels_last(x: Tensor) -> Tensor:
    """Channels from axis 1 to the last: (n, c, …) to (n, …, c)."""
    return x.movedim(1, -1) if x.ndim > 2 else x
