"""What Torch's optimizers keep of every weight, and the rule by which they moved it.

A rule is read off the groups of parameters right after a step: a class of the user's may set them
within it. Of a subclass it is what the groups say; whether it moved the weights so shows in the
step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from compare.backends.optimizer_rule import Rule
from compare.backends.torch.clipping import clipping
from compare.backends.torch.structures import to_numpy
from compare.backends.torch.weights import named_tensors, weighted_layers

_O = torch.optim
_MOMENTS = {"exp_avg": "first_moment", "exp_avg_sq": "second_moment"}
_SLOTS: Mapping[type, Mapping[str, str]] = {
    _O.SGD: {"momentum_buffer": "velocity"},
    _O.Adam: {**_MOMENTS, "max_exp_avg_sq": "max_second_moment"},
    _O.AdamW: {**_MOMENTS, "max_exp_avg_sq": "max_second_moment"},
    _O.Adamax: {"exp_avg": "first_moment", "exp_inf": "infinity_norm"},
    _O.NAdam: _MOMENTS,
    _O.RMSprop: {
        "square_avg": "second_moment",
        "momentum_buffer": "velocity",
        "grad_avg": "average_gradient",
    },
    _O.Adagrad: {"sum": "accumulator"},
    _O.Adadelta: {"square_avg": "second_moment", "acc_delta": "squared_changes"},
}
"""Class of an optimizer → what it keeps of a parameter → Keras' name."""

_ANY = {key: slot for names in _SLOTS.values() for key, slot in names.items() if key != "sum"}
"""The same of an optimizer that a user wrote: it is taken at its names."""


def _known(optimizer: Optimizer) -> Any:
    return next((kind for kind in type(optimizer).__mro__ if kind in _SLOTS), None)


def slot_names(optimizer: Optimizer) -> Mapping[str, str]:
    """What an optimizer keeps of a parameter → Keras' name, of its slots."""
    bases = {c for c in type(optimizer).__mro__ if c.__module__.startswith("torch.optim.")}
    known = _known(optimizer)
    return _SLOTS[known] if known else _ANY if bases == {Optimizer} else {}


def slots(
    root: nn.Module, optimizer: Optimizer, rates: Sequence[float]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """`<layer>/<tensor>/<slot>` and its value, for everything that the optimizer keeps.

    Of what is trained but got no gradient so far Torch keeps nothing, Keras zeros.

    Args:
        root: The module.
        optimizer: What trains it.
        rates: The learning rates that the step was taken with: a schedule changes them after it.
    """
    # Keras keeps the learning rate within the velocity. Its SGD descends by adding it, its
    # RMSprop by subtracting.
    scales = {
        id(p): rate if "alpha" in group else -rate
        for group, rate in zip(optimizer.param_groups, rates, strict=True)
        for p in group["params"]
    }
    kept = {key for state in optimizer.state.values() for key in state}
    for key, name in slot_names(optimizer).items():
        if key not in kept:
            continue

        def slot(p: Tensor, key: str = key) -> Tensor | None:
            state = optimizer.state.get(p, {})
            if id(p) in scales and not state and p.requires_grad and p.grad is None:
                return torch.zeros_like(p)
            # Adagrad begins with something for what is frozen, too.
            if (value := state.get(key)) is None or not p.requires_grad:
                return None
            tensor: Tensor = value.detach()
            return scales[id(p)] * tensor if key == "momentum_buffer" else tensor

        for tensor, values in named_tensors(root, slot).items():
            yield f"{tensor}/{name}", to_numpy(values)


def rules(
    root: nn.Module, optimizer: Optimizer, gradients: Mapping[int, Tensor]
) -> Iterator[tuple[str, str]]:
    """The rule by which every weight was moved in the last step: `<layer>/<tensor>` and JSON.

    Nothing of a weight that an optimizer of another class holds, or that is made of tensors that
    are moved by several rules.

    Args:
        root: The module.
        optimizer: It took the step, right before.
        gradients: Identity of a parameter → its gradient as `backward` left it.
    """
    trained = [(p, group) for group in optimizer.param_groups for p in group["params"]]
    held = {id(p): group for p, group in trained}
    clipped = clipping([p for p, _ in trained], gradients)
    for layer in weighted_layers(root).values():
        for name, canonical in layer.known.items():
            own = [p for p in canonical.tensors(layer.module) if isinstance(p, nn.Parameter)]
            moved = [p for p in own if id(p) in held and p.grad is not None]
            read = [_rule(optimizer, held[id(p)], p, clipped) for p in moved]
            if not own or None in read or any(rule != read[0] for rule in read):
                continue
            rule = read[0] if read else Rule(kind="none")
            assert rule is not None
            if canonical.joined == "sum":
                yield f"{layer.name}/{name}", replace(rule, copies=max(len(read), 1)).text()
            elif len(read) in (0, len(own)):
                yield f"{layer.name}/{name}", rule.text()


def _rule(
    optimizer: Optimizer, group: dict[str, Any], p: Tensor, clipped: Mapping[str, Any]
) -> Rule | None:
    known = _known(optimizer)
    if known is None:
        return None
    state = optimizer.state.get(p, {})
    update = int(state.get("step", 0))
    decay = float(group.get("weight_decay", 0.0))
    # Without momentum a decay in the gradient is one beside the step.
    plain = known is _O.SGD and not group["momentum"]
    decoupled = plain or group.get("decoupled_weight_decay", known is _O.AdamW)
    rate = float(group["lr"])
    return Rule(
        rate=rate / (1.0 + (update - 1) * float(group.get("lr_decay", 0.0))),
        schedule="lr_scheduler" if "initial_lr" in group else "",
        scheduled=(float(group["initial_lr"]),) if "initial_lr" in group else (),
        update=update,
        maximize=bool(group.get("maximize", False)),
        decay=decay,
        decay_form=("decoupled" if decoupled else "coupled") if decay else "",
        epsilon=float(group.get("eps", 0.0)),
        **clipped,
        **_OF_KIND[known](group, state),
    )


def _sgd(group: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    momentum = float(group["momentum"])
    return {
        "kind": "sgd",
        "momentum": momentum,
        "velocity": "outside" if momentum else "inside",
        "nesterov": bool(group["nesterov"]),
        "dampening": float(group["dampening"]) if momentum else 0.0,
    }


def _betas(group: dict[str, Any]) -> dict[str, Any]:
    beta_1, beta_2 = map(float, group["betas"])
    return {"beta_1": beta_1, "beta_2": beta_2}


def _adam(group: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    amsgrad = bool(group["amsgrad"])
    return {"kind": "adam", **_betas(group), "epsilon_place": "after", "amsgrad": amsgrad}


def _adamax(group: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "adamax", **_betas(group), "epsilon_place": "maximum"}


def _nadam(group: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    decay, product = float(group["momentum_decay"]), float(state.get("mu_product", 1.0))
    return {"kind": "nadam", **_betas(group), "momentum_decay": decay, "product": product}


def _rmsprop(group: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    momentum = float(group["momentum"])
    return {
        "kind": "rmsprop",
        "momentum": momentum,
        "velocity": "outside" if momentum else "inside",
        "beta_2": float(group["alpha"]),
        "epsilon_place": "outside",
        "centered": bool(group["centered"]),
    }


def _adagrad(group: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    start = float(group["initial_accumulator_value"])
    return {"kind": "adagrad", "accumulator": start, "epsilon_place": "outside"}


def _adadelta(group: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "adadelta", "beta_2": float(group["rho"])}


_OF_KIND: Mapping[type, Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]]] = {
    _O.SGD: _sgd,
    _O.Adam: _adam,
    _O.AdamW: _adam,
    _O.Adamax: _adamax,
    _O.NAdam: _nadam,
    _O.RMSprop: _rmsprop,
    _O.Adagrad: _adagrad,
    _O.Adadelta: _adadelta,
}
"""Class of an optimizer → what its rules have beside what all have."""
