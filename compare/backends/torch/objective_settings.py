"""The settings of optimizers and losses under Keras' names, with Torch's numbers."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from compare.backends.torch.as_found import as_found

_KINDS = {
    torch.optim.SGD: "sgd",
    torch.optim.Adam: "adam",
    torch.optim.AdamW: "adamw",
    torch.optim.RMSprop: "rmsprop",
}
_NAMES = {
    "lr": "learning_rate",
    "momentum": "momentum",
    "dampening": "dampening",
    "nesterov": "nesterov",
    "eps": "epsilon",
    "weight_decay": "weight_decay",
    "alpha": "rho",
    "centered": "centered",
    "amsgrad": "amsgrad",
}
_FROM_LOGITS = {
    "BCEWithLogitsLoss": True,
    "CrossEntropyLoss": True,
    "BCELoss": False,
    "NLLLoss": False,
    "binary_cross_entropy_with_logits": True,
    "cross_entropy": True,
    "binary_cross_entropy": False,
    "nll_loss": False,
}


def optimizer_settings(
    module: nn.Module, objective: tuple[Any, Any] | None = None
) -> dict[str, Any]:
    """Settings of the optimizer that would train a module; the module is left as it was found.

    Args:
        module: A LightningModule, or a plain module with an `objective`.
        objective: `loss(output, target)` and `optimizer(parameters)` of a plain module.

    Returns:
        `kind` and the numbers that all groups of parameters share. `learning_rate` is
        `{"schedule": class}` where a schedule changes it. `class` is there for a subclass of one of
        Torch's. Empty where `configure_optimizers` cannot be called before training.
    """
    with as_found(module):
        try:
            if objective is not None:
                found = objective[1](module.parameters())
            else:
                found = copy.deepcopy(module).configure_optimizers()
        # One that asks its Trainer for the number of steps, say: it is judged by what it does.
        except Exception:
            return {}
    optimizer, schedule = _first(found)
    return {} if optimizer is None else _of(optimizer, schedule)


def _first(found: Any) -> tuple[torch.optim.Optimizer | None, str | None]:
    """The first optimizer and the class of its schedule, of all that Lightning allows."""
    schedule = None
    if isinstance(found, (tuple, list)):
        if len(found) == 2 and isinstance(found[0], (tuple, list)):
            found, schedules = found
            schedule = next(iter(schedules), None)
        found = next(iter(found), None)
    if isinstance(found, dict):
        schedule = found.get("lr_scheduler", schedule)
        found = found.get("optimizer")
    if isinstance(schedule, dict):
        schedule = schedule.get("scheduler")
    if not isinstance(found, torch.optim.Optimizer):
        return None, None
    return found, None if schedule is None else type(schedule).__name__


def _of(optimizer: torch.optim.Optimizer, schedule: str | None) -> dict[str, Any]:
    known = next((cls for cls in type(optimizer).__mro__ if cls in _KINDS), None)
    found: dict[str, Any] = {"kind": _KINDS.get(known, type(optimizer).__name__.lower())}
    if known is not None and type(optimizer) is not known:
        found["class"] = type(optimizer).__name__
    first = optimizer.param_groups[0]
    for own, name in _NAMES.items():
        values = [group.get(own) for group in optimizer.param_groups]
        if values[0] is not None and all(value == values[0] for value in values):
            found[name] = values[0] if isinstance(values[0], bool) else float(values[0])
    if "betas" in first:
        found["beta_1"], found["beta_2"] = map(float, first["betas"])
    if not found.get("dampening"):
        found.pop("dampening", None)
    if schedule is not None:
        found["learning_rate"] = {"schedule": schedule}
    return found


def loss_settings(
    module: nn.Module, objective: tuple[Callable[..., Any], Any] | None = None
) -> dict[str, Any]:
    """`name`, `from_logits` and `reduction` of a plain module's loss; empty where it is unknown.

    Args:
        module: Whose loss it is; a LightningModule's is inside its `training_step`.
        objective: `loss(output, target)` and `optimizer(parameters)` of a plain module.
    """
    if objective is None:
        return {}
    loss, keywords = objective[0], {}
    if isinstance(loss, functools.partial):
        loss, keywords = loss.func, loss.keywords
    if isinstance(loss, nn.Module):
        name, reduction = type(loss).__name__, getattr(loss, "reduction", None)
    else:
        name, reduction = getattr(loss, "__name__", "<lambda>"), keywords.get("reduction")
        if reduction is None and getattr(loss, "__module__", "") == "torch.nn.functional":
            reduction = "mean"
    if name == "<lambda>":
        return {}
    return {"name": name, "from_logits": _FROM_LOGITS.get(name), "reduction": reduction}
