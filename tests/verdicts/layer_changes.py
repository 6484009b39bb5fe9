"""Faults of one layer of a pair: its settings, its weights, what is trained, what it calls."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from bn_torch import BiasedBatchNorm
from verdicts import calls
from verdicts.places import BACKWARD, CALLS, PARTNERS, blamed
from verdicts.port import Fault, fault

BATCH_NORMS = (BiasedBatchNorm, nn.modules.batchnorm._BatchNorm)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
HALVED = "with half its gradient"
DENSE = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)


@dataclass(frozen=True)
class Change:
    """What is done to a right port of a pair.

    Attributes:
        name: What is done, and where.
        fault: Where it shows, and why.
        about: What it is done to: two changes of one thing are not made at once.
        spoil: Changes the module in place.
        optimizer: Makes another of what configures the optimizer returns.
        loss: Makes another of the loss: a function of its value, the module's output (None in a
            LightningModule) and the targets.
        gradients: Changes gradients in place before a step: in Lightning's hook, or in the hook of
            a plain module's optimizer.
    """

    name: str
    fault: Fault
    about: str
    spoil: Callable[[nn.Module], object] | None = None
    optimizer: Callable[[Any], Any] | None = None
    loss: Callable[[Any, Any, Any], Any] | None = None
    gradients: Callable[[Sequence[torch.Tensor]], object] | None = None


LAYERS = 2
"""At most so many layers of a pair have the same done to them."""


def layer_changes(pair: str, module: nn.Module) -> Iterator[Change]:
    """Every change that applies to a layer of a pair, or to a call between its layers."""
    layers: Counter[str] = Counter()
    shuffled = random.Random(pair).sample(list(PARTNERS[pair].items()), len(PARTNERS[pair]))
    for layer, path in shuffled:
        part = module.get_submodule(path)
        for name, act, known in of_a_layer(part):
            layers[name] += 1
            if layers[name] > LAYERS:
                continue
            told = Fault(frozenset(blamed(pair, layer)), known.cause, known.also)
            yield Change(f"{name}, {layer}", told, layer, partial(_within, path=path, act=act))
    for (function, number), span in CALLS.get(pair, {}).items():
        for name, instead, known in of_a_call(function):
            spans = (
                {span, BACKWARD.get((pair, function, number), span)} if name == HALVED else {span}
            )
            told = Fault(frozenset(spans), known.cause, known.also)
            spoil = partial(calls.replace_call, name=function, number=number, instead=instead)
            yield Change(f"{function} {number} {name}", told, f"{function} {number}", spoil)


def _within(module: nn.Module, *, path: str, act: Callable[[Any], object]) -> None:
    act(module.get_submodule(path))


Act = Callable[[Any], object]


def of_a_layer(part: Any) -> Iterator[tuple[str, Act, Fault]]:
    """What can be done to a layer, and how that is known; the places are the layer."""
    yield "not trained", lambda m: m.requires_grad_(False), fault(also=["bn-frozen"])
    if isinstance(part, BATCH_NORMS):
        yield from _of_a_batch_norm(part)
    if isinstance(part, nn.LayerNorm | nn.GroupNorm):
        yield "epsilon 1e-5", _setting(eps=1e-5), fault(cause="norm-epsilon")
        yield "epsilon 1e-2", _setting(eps=1e-2), fault(cause="norm-epsilon")
        yield "no weight and no bias", _setting(weight=None, bias=None), fault()
    if isinstance(part, nn.GroupNorm):
        groups = 1 if part.num_groups > 1 else 2
        yield f"{groups} groups", _setting(num_groups=groups), fault()
    if isinstance(part, DENSE):
        yield from _of_a_dense_layer(part)
    if isinstance(part, CONVOLUTIONS):
        yield from _of_a_convolution(part)
    if isinstance(part, nn.Embedding):
        yield "padding_idx", _setting(padding_idx=3), fault(cause="padding-idx")
        if part.num_embeddings > 6:  # Positions are looked up once each.
            yield "scaled by frequency", _setting(scale_grad_by_freq=True), fault()
        yield "rows swapped", lambda m: _changed(m.weight, lambda w: w.roll(1, 0)), fault()
    if isinstance(part, nn.LSTM | nn.RNN):
        yield "both biases trained", _both_biases, fault(cause="lstm-single-bias")
    if isinstance(part, nn.LSTM):
        yield "gates i, f, o, c", partial(_gates, order=(0, 1, 3, 2)), fault()
        yield "gates f, i, c, o", partial(_gates, order=(1, 0, 2, 3)), fault()
        yield "forget bias lower by one", _forget_bias, fault(cause="lstm-forget-bias")
    if isinstance(part, nn.GRU):
        yield "gates as in Keras", partial(_gates, order=(1, 0, 2)), fault(cause="gru-gate-order")


def _of_a_batch_norm(part: Any) -> Iterator[tuple[str, Act, Fault]]:
    yield "epsilon 1e-5", _setting(eps=1e-5), fault(cause="bn-epsilon")
    yield "epsilon 1e-2", _setting(eps=1e-2), fault(cause="bn-epsilon")
    right = part.momentum
    for momentum in (0.1, 0.05):
        if abs(momentum - right) > 1e-9:
            told = fault(cause="bn-momentum")
            yield f"momentum {momentum}", _setting(momentum=momentum), told
    yield "momentum copied", _setting(momentum=1.0 - right), fault(cause="bn-momentum-copied")
    yield "statistics stand still", _setting(momentum=0.0), fault(also=["bn-momentum"])
    yield "in inference mode", _frozen, fault(cause="train-mode", also=["bn-frozen"])
    for name in ("weight", "bias"):
        if getattr(part, name) is not None:
            yield f"no {name}", _setting(**{name: None}), fault(also=["bn-affine"])
        else:
            cause = "bn-center-only" if name == "weight" else "bn-affine"
            yield f"a {name} too many", partial(_added, name=name), fault(cause=cause)
    yield "mean and variance swapped", _swapped_statistics, fault()


def _of_a_dense_layer(part: Any) -> Iterator[tuple[str, Act, Fault]]:
    if part.bias is not None:
        yield "bias lost", _setting(bias=None), fault()
        yield "bias left at zero", lambda m: _changed(m.bias, torch.zeros_like), fault()
    elif not isinstance(part, nn.Linear):
        yield "a bias too many", partial(_added, name="bias"), fault()
    if isinstance(part, nn.Linear):
        if part.in_features == part.out_features:
            told = fault(cause="kernel-layout")
            yield "kernel not transposed", lambda m: _changed(m.weight, torch.t), told
    elif part.weight.shape[-1] > 1:
        yield "kernel flipped", lambda m: _changed(m.weight, lambda w: w.flip(-1)), fault()


def _of_a_convolution(part: Any) -> Iterator[tuple[str, Act, Fault]]:
    one = max(part.kernel_size) == 1
    padded = not isinstance(part.padding, str) and any(part.padding)
    if not one and padded:
        yield "reflected at the border", _padding_mode("reflect"), fault()
        yield "replicated at the border", _padding_mode("replicate"), fault()
    if not one and all(d == 1 for d in part.dilation):
        yield "dilation 2", lambda m: _setting(dilation=tuple(2 for _ in m.dilation))(m), fault()
    if all(s == 1 for s in part.stride) and part.padding != "same":
        yield "stride 2", lambda m: _setting(stride=tuple(2 for _ in m.stride))(m), fault()


def _setting(**values: Any) -> Act:
    def act(module: Any) -> None:
        for name, value in values.items():
            setattr(module, name, value)

    return act


def _changed(tensor: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with torch.no_grad():
        tensor.copy_(change(tensor.detach().clone()))


def _added(module: Any, *, name: str) -> None:
    size = getattr(module, "num_features", None) or module.out_channels
    ones = next(module.parameters()).new_ones(size)
    module.register_parameter(name, nn.Parameter(ones if name == "weight" else 0.0 * ones))


def _frozen(module: Any) -> None:
    kind = type(module)

    class Frozen(kind):  # type: ignore[misc, valid-type]
        def train(self, mode: bool = True) -> Any:
            return super().train(False)

    module.__class__ = Frozen
    module.eval()


def _swapped_statistics(module: Any) -> None:
    mean, variance = module.running_mean.clone(), module.running_var.clone()
    module.running_mean.copy_(variance)
    module.running_var.copy_(mean.abs())


def _padding_mode(mode: str) -> Act:
    def act(module: Any) -> None:
        module.padding_mode = mode
        module._reversed_padding_repeated_twice = [
            p for p in reversed(module.padding) for _ in "12"
        ]

    return act


def _both_biases(module: Any) -> None:
    for name, p in module.named_parameters():
        if name.startswith("bias"):
            p.requires_grad_(True)


def _gates(module: Any, *, order: tuple[int, ...]) -> None:
    def exchanged(p: torch.Tensor) -> torch.Tensor:
        parts = p.chunk(len(order))
        return torch.cat([parts[gate] for gate in order])

    for p in module.parameters():
        _changed(p, exchanged)


def _forget_bias(module: Any) -> None:
    units = module.hidden_size
    for name, p in module.named_parameters():
        if name.startswith("bias_ih"):
            with torch.no_grad():
                p[units : 2 * units] -= 1.0


SLOPE = "leaky-relu-slope"

ACTIVATIONS: Mapping[str, Mapping[str, tuple[calls.Instead, Fault]]] = {
    "relu": {
        "leaky": (calls.other(F.leaky_relu, negative_slope=0.01), fault(also=[SLOPE])),
        "gelu": (calls.other(F.gelu), fault()),
        "silu": (calls.other(F.silu), fault()),
    },
    "hardtanh": {"leaky": (calls.other(F.leaky_relu, negative_slope=0.01), fault(also=[SLOPE]))},
    "leaky_relu": {
        "slope 0.01": (calls.other(F.leaky_relu, negative_slope=0.01), fault(cause=SLOPE)),
        "slope 0.3": (calls.other(F.leaky_relu, negative_slope=0.3), fault(also=[SLOPE])),
        "relu": (calls.other(F.relu), fault(also=[SLOPE])),
    },
    "elu": {
        "alpha 0.5": (calls.other(F.elu, alpha=0.5), fault()),
        "selu": (calls.other(F.selu), fault()),
    },
    "silu": {
        "hardswish": (calls.other(F.hardswish), fault()),
        "gelu": (calls.other(F.gelu), fault()),
    },
    "softplus": {
        "beta 2": (calls.other(F.softplus, beta=2.0), fault()),
        "relu": (calls.other(F.relu), fault()),
    },
    "tanh": {
        "hardtanh": (calls.other(F.hardtanh), fault()),
        "sigmoid": (calls.other(torch.sigmoid), fault()),
    },
}
POOLINGS: Mapping[str, Mapping[str, tuple[calls.Instead, Fault]]] = {
    "adaptive_avg_pool2d": {
        "maximum": (calls.other(F.adaptive_max_pool2d, output_size=1), fault()),
    },
    "max_pool2d": {"average": (calls.other(F.avg_pool2d, kernel_size=2), fault())},
    "avg_pool2d": {
        "maximum": (calls.other(F.max_pool2d, kernel_size=2, ceil_mode=True), fault()),
    },
    "mean": {"maximum": (calls.pooled("amax"), fault()), "sum": (calls.pooled("sum"), fault())},
    "amax": {"average": (calls.pooled("mean"), fault())},
}


def of_a_call(function: str) -> Iterator[tuple[str, calls.Instead, Fault]]:
    """What can be called instead of a function; the places are where it stands."""
    yield "times 1.01", calls.scaled(1.01), fault()
    yield HALVED, calls.half_its_gradient, fault()
    if function in ACTIVATIONS:
        yield "left out", calls.left_out, fault()
    for name, (instead, known) in {**ACTIVATIONS, **POOLINGS}.get(function, {}).items():
        yield f"for {name}", instead, known
