"""The weights of any Torch module under canonical names, in Keras' layout.

Keras names and layouts are the common ones: a linear layer's `weight` (out, in) is `kernel`
(in, out), a batch norm's `weight, bias, running_mean, running_var` are `gamma, beta, moving_mean,
moving_variance`, and an LSTM's two biases are one `bias`, their sum. The rules are in `rules.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from compare.backends.torch.rules import Canonical, Of, Rule, rule_of
from compare.backends.torch.structures import to_numpy
from compare.data import Array


@dataclass(frozen=True)
class Layer:
    """A layer with tensors of its own.

    Attributes:
        name: Its path, parts separated by `/`.
        module: The module that it is, or is a part of: an RNN of several layers is several.
        kind: `"dense"`, `"conv"`, …
        known: Canonical name → where it comes from.
    """

    name: str
    module: nn.Module
    kind: str
    known: Mapping[str, Canonical]

    def tensors(self, of: Of = Tensor.detach, *, alone: bool = False) -> dict[str, Tensor]:
        """Its tensors by canonical name, in Keras' layout, but where `of` returns None."""
        return {
            name: tensor
            for name, canonical in self.known.items()
            if (tensor := canonical.read(self.module, of, alone=alone)) is not None
        }

    @property
    def trained(self) -> int:
        """Number of trained values; an LSTM's two biases are one in Keras and count once."""
        return sum(canonical.trained(self.module) for canonical in self.known.values())


def weighted_layers(module: nn.Module) -> dict[str, Layer]:
    """The layers with tensors of their own, by name (`block/hidden`).

    Raises:
        TypeError: No rule is known for a layer with weights of its own.
        ValueError: A lazy layer has no weights yet.
    """
    return {layer.name: layer for layer in _walk(module, "", set())}


def _walk(module: nn.Module, path: str, seen: set[nn.Module]) -> Iterator[Layer]:
    if module in seen:
        return
    seen.add(module)
    rule = rule_of(module)
    if rule is not None:
        yield from _layers(module, path, rule)
    elif next(module.parameters(recurse=False), None) is not None:
        raise TypeError(f"no rule for the weights of {_where(module, path)}: {_REMEDY}")
    if rule is None or not rule.whole:
        for name, child in module.named_children():
            yield from _walk(child, f"{path}/{name}" if path else name, seen)


_REMEDY = "register one with @compare.weight_rule(KerasLayer, TorchModule)"


def _where(module: nn.Module, path: str) -> str:
    return f"{type(module).__name__} ({path or 'the module itself'})"


def _layers(module: nn.Module, path: str, rule: Rule) -> Iterator[Layer]:
    where = _where(module, path)
    for parameter in module.parameters(recurse=False):
        if is_lazy(parameter):
            raise ValueError(f"{where} has no weights yet: call the module once")
        if parameter.device.type != "cpu":
            raise ValueError(f"{where} is on {parameter.device}: use module.cpu()")
    try:
        known = rule.layers(module)
    except TypeError as error:
        raise TypeError(f"no rule for the weights of {where}: {error}") from error
    named = {own for part in known.values() for c in part.tensors.values() for own in c.own}
    unknown = {name for name, _ in module.named_parameters(recurse=rule.whole)} - named
    if unknown:
        names = ", ".join(sorted(unknown))
        raise TypeError(f"no rule for the weights of {where}: {names}: {_REMEDY}")
    for ending, part in known.items():
        name = f"{path}/{ending}".strip("/") or part.kind
        if any(canonical.tensors(module) for canonical in part.tensors.values()):
            yield Layer(name, module, part.kind, part.tensors)


def named_tensors(
    module: nn.Module, of: Of = Tensor.detach, *, alone: bool = False
) -> dict[str, Tensor]:
    """All tensors of a module by canonical name (`hidden/kernel`), in Keras' layout.

    Views, but for what is made of two tensors, and a GRU's: writing to a view writes to the layer.

    Args:
        module: Any module of known layers.
        of: What is taken of each tensor.
        alone: Of two tensors whose sum Keras has, take the first: right for gradients.
    """
    return {
        f"{name}/{key}": tensor
        for name, layer in weighted_layers(module).items()
        for key, tensor in layer.tensors(of, alone=alone).items()
    }


def read_weights(module: nn.Module) -> dict[str, Array]:
    """Copies of all weights and running statistics, by canonical name, in Keras' layout."""
    return {name: to_numpy(tensor) for name, tensor in named_tensors(module).items()}


def write_weights(module: nn.Module, weights: Mapping[str, Array]) -> None:
    """Set all weights and running statistics; names and shapes as `read_weights` returns them."""
    own = named_tensors(module)
    if own.keys() != weights.keys():
        odd = sorted(own.keys() ^ weights.keys())
        raise ValueError(f"weights do not match {type(module).__name__}: {', '.join(odd)}")
    for name, tensor in own.items():
        if tensor.shape != np.shape(weights[name]):
            raise ValueError(
                f"{name}: expected shape {tuple(tensor.shape)}, received {np.shape(weights[name])}"
            )
    write_some(module, weights)


def write_some(module: nn.Module, weights: Mapping[str, Array]) -> None:
    """Set the weights that are named, and no other; names and shapes as `read_weights` has them."""
    for layer in weighted_layers(module).values() if weights else ():
        for key, canonical in layer.known.items():
            if (value := weights.get(f"{layer.name}/{key}")) is not None:
                canonical.write(layer.module, torch.from_numpy(np.array(value)))
