"""Faults of a pair's training: its loss and its optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

import lightning as L
import torch
from torch import nn

from verdicts.layer_changes import Change
from verdicts.places import PARTNERS
from verdicts.port import Fault, fault

Optimizer = Any
"""A Torch optimizer."""

ALONE = "parameters by their number"
"""What a change is about that no other change may go with: it counts the module's parameters."""


def training_changes(pair: str, module: nn.Module, optimizer: Optimizer) -> Iterator[Change]:
    """Every change that applies to the training of a pair.

    Args:
        pair: Its name.
        module: Its right port.
        optimizer: What trains that.
    """
    # A fault that bites some weights only is blamed on their layers.
    anywhere = ("optimizer", *PARTNERS[pair])
    for name, act, known in of_an_optimizer(optimizer, anywhere):
        yield Change(name, known, "optimizer", optimizer=partial(_each, act=act))
    clipping = fault(*anywhere, also=["gradient-clipping"])
    for name, change in _CLIPPED.items():
        yield Change(name, clipping, "optimizer", gradients=change)
    if type(optimizer).__module__.startswith("torch."):
        # A subclass with a step of its own runs such a hook twice: downhill again.
        yield Change("uphill", fault("optimizer"), "optimizer", gradients=_uphill)
    for name, kind, options in _OTHERS:
        if not isinstance(optimizer, kind) and kind.__name__ not in type(optimizer).__name__:
            replaced = partial(_replaced, kind=kind, options=options)
            known = fault("optimizer", cause="optimizer-kind")
            yield Change(name, known, "optimizer", optimizer=replaced)
    for layer, path in (next(iter(PARTNERS[pair].items())), list(PARTNERS[pair].items())[-1]):
        part = module.get_submodule(path)
        numbers = [
            n for n, p in enumerate(_trained(module)) if any(p is q for q in part.parameters())
        ]
        slower = partial(_each, act=partial(_slower, numbers=numbers))
        yield Change(f"a tenth of the rate, {layer}", fault(layer), ALONE, optimizer=slower)
        forgotten = partial(_each, act=partial(_forgotten, numbers=numbers))
        yield Change(f"not in the optimizer, {layer}", fault(layer), ALONE, optimizer=forgotten)
    yield Change("loss × 1.5", fault("loss"), "loss", loss=lambda value, o, t: 1.5 * value)
    summed = fault("loss", cause="loss-reduction")
    yield Change("loss summed", summed, "loss", loss=lambda value, o, t: len(t) * value)
    added = fault("loss")
    yield Change("loss + 0.01", added, "loss", loss=lambda value, o, t: value + 0.01)


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


_OTHERS: tuple[tuple[str, type, dict[str, Any]], ...] = (
    ("SGD in its place", torch.optim.SGD, {}),
    ("Adam in its place", torch.optim.Adam, {"eps": 1e-7}),
    ("Adagrad in its place", torch.optim.Adagrad, {}),
)

Act = Callable[[Optimizer], object]


def of_an_optimizer(
    optimizer: Optimizer, anywhere: tuple[str, ...]
) -> Iterator[tuple[str, Act, Fault]]:
    """What can be done to an optimizer, in place.

    Args:
        optimizer: One of that kind.
        anywhere: Who is blamed where some weights alone differ.
    """
    group, kind = optimizer.param_groups[0], type(optimizer).__name__
    yield "twice the rate", partial(_rate, factor=2.0), fault("optimizer")
    yield "a rate 1e-4 too large", partial(_rate, factor=1.0001), fault("optimizer")
    accumulation = fault("optimizer", also=["gradient-accumulation"])
    yield "every second step", _every_second, accumulation
    if "SGD" in kind:
        yield from _of_sgd(group)
    if "Adam" in kind:
        yield "β₁ 0.8", partial(_set, betas=(0.8, 0.999)), fault("optimizer")
        yield "β₂ 0.99", partial(_set, betas=(0.9, 0.99)), fault("optimizer")
        yield "maximize", partial(_set, maximize=True), fault("optimizer")
        yield "amsgrad", partial(_set, amsgrad=True), fault("optimizer")
        yield "epsilon 1e-3", _epsilon, fault("optimizer", also=["adam-epsilon"])
        if group["weight_decay"]:
            told = fault(*anywhere, also=["weight-decay", "weight-decay-excluded"])
            yield "no decay", partial(_set, weight_decay=0.0), told
            yield "twice the decay", partial(_set, weight_decay=2 * group["weight_decay"]), told
            yield "biases do not decay", _biases_excluded, told
        else:
            told = fault(*anywhere, also=["weight-decay"])
            yield "a decay of 0.01", partial(_set, weight_decay=0.01), told
    if "RMSprop" in kind:
        named = ["rmsprop-epsilon", "optimizer-defaults"]
        yield "alpha 0.99", partial(_set, alpha=0.99), fault("optimizer", also=named)
        yield "epsilon 1e-3", partial(_set, eps=1e-3), fault("optimizer", also=named)


def _of_sgd(group: dict[str, Any]) -> Iterator[tuple[str, Act, Fault]]:
    momentum = group["momentum"]
    if momentum:
        for name, value in (("no momentum", 0.0), ("momentum 0.99", 0.99)):
            off = {"nesterov": False} if value == 0.0 else {}
            yield name, partial(_set, momentum=value, **off), fault("optimizer")
        yield (
            "a momentum 1e-4 too large",
            partial(_set, momentum=momentum + 1e-4),
            fault("optimizer"),
        )
        other = not group["nesterov"]
        yield (
            ("Nesterov" if other else "no Nesterov"),
            partial(_set, nesterov=other),
            fault("optimizer"),
        )
        dampened = partial(_set, nesterov=False, dampening=0.1)
        # Torch dampens from the second step on; that it takes no Nesterov step shows in the first.
        cause = None if group["nesterov"] else "sgd-dampening"
        yield "dampening 0.1", dampened, fault("optimizer", cause=cause, also=["sgd-dampening"])
    else:
        yield "momentum 0.9", partial(_set, momentum=0.9), fault("optimizer")
    yield "maximize", partial(_set, maximize=True), fault("optimizer")
    decay = fault("optimizer", also=["weight-decay"])
    yield "a decay of 0.01", partial(_set, weight_decay=0.01), decay


def optimizers(configured: Any) -> list[Optimizer]:
    """The optimizers in what `configure_optimizers` returns."""
    if isinstance(configured, dict):
        return [configured["optimizer"]]
    if isinstance(configured, list | tuple):
        first = configured[0]
        return list(first) if isinstance(first, list | tuple) else list(configured)
    return [configured]


def schedulers(configured: Any) -> list[Any]:
    """The schedulers in what `configure_optimizers` returns."""
    if isinstance(configured, dict):
        scheduled = [configured.get("lr_scheduler")]
    elif isinstance(configured, tuple) and len(configured) == 2:
        scheduled = list(configured[1])
    else:
        scheduled = []
    return [s["scheduler"] if isinstance(s, dict) else s for s in scheduled if s is not None]


def _each(configured: Any, *, act: Callable[..., object]) -> Any:
    for optimizer in optimizers(configured):
        act(optimizer)
    for scheduler in schedulers(configured):
        # It scales the rates that it found when it was made; the first step's factor is 1.
        groups = scheduler.optimizer.param_groups
        scheduler.base_lrs = [group["lr"] for group in groups]
        scheduler.lr_lambdas = scheduler.lr_lambdas[:1] * len(groups)
    return configured


def _set(optimizer: Optimizer, **values: Any) -> None:
    for group in optimizer.param_groups:
        group.update(values)


def _rate(optimizer: Optimizer, *, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= factor


def _epsilon(optimizer: Optimizer) -> None:
    _set(optimizer, eps=1e-3)
    if hasattr(optimizer, "epsilon"):  # Those that compute it at every step.
        optimizer.epsilon = 1e-3


def _before_step(
    optimizer: Optimizer, *, change: Callable[[Sequence[torch.Tensor]], object]
) -> None:
    def hook(stepped: Optimizer, args: Any, options: Any) -> None:
        change(gradients(stepped))

    optimizer.register_step_pre_hook(hook)


def gradients(optimizer: Optimizer) -> list[torch.Tensor]:
    """The gradients that an optimizer is about to use."""
    return [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]


def _uphill(gradients: Sequence[torch.Tensor]) -> None:
    for g in gradients:
        g.neg_()


def _clipped_by_norm(gradients: Sequence[torch.Tensor]) -> None:
    norm = sum(g.square().sum() for g in gradients) ** 0.5
    for g in gradients:
        g.mul_(0.01 / max(norm, 0.01))


def _clipped_each(gradients: Sequence[torch.Tensor]) -> None:
    for g in gradients:
        g.mul_(1e-3 / g.norm().clamp(min=1e-3))


def _clipped_by_value(gradients: Sequence[torch.Tensor]) -> None:
    for g in gradients:
        g.clamp_(-1e-3, 1e-3)


def _every_second(optimizer: Optimizer) -> None:
    # A scheduler has put a function of its own before that of the class.
    step, calls = optimizer.step, count(1)

    def every_second(closure: Any = None) -> Any:
        if next(calls) % 2 == 0:
            return step(closure)
        with torch.enable_grad():
            return None if closure is None else closure()

    optimizer.step = every_second


def _biases_excluded(optimizer: Optimizer) -> None:
    (group,) = optimizer.param_groups
    kernels = [p for p in group["params"] if p.ndim > 1]
    biases = [p for p in group["params"] if p.ndim == 1]
    group["params"] = kernels
    optimizer.add_param_group({**group, "params": biases, "weight_decay": 0.0})


def _slower(optimizer: Optimizer, *, numbers: list[int]) -> None:
    (group,) = optimizer.param_groups
    chosen = [p for n, p in enumerate(group["params"]) if n in numbers]
    group["params"] = [p for n, p in enumerate(group["params"]) if n not in numbers]
    optimizer.add_param_group({**group, "params": chosen, "lr": 0.1 * group["lr"]})


def _forgotten(optimizer: Optimizer, *, numbers: list[int]) -> None:
    (group,) = optimizer.param_groups
    group["params"] = [p for n, p in enumerate(group["params"]) if n not in numbers]


def _replaced(configured: Any, *, kind: type, options: dict[str, Any]) -> Any:
    (optimizer,) = optimizers(configured)
    (group,) = optimizer.param_groups
    return kind(group["params"], lr=group["lr"], **options)


_CLIPPED = {
    "clipped by norm": _clipped_by_norm,
    "clipped by value": _clipped_by_value,
    "clipped each by itself": _clipped_each,
}


def changed_objective(objective: Mapping[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    """The loss and the optimizer of a plain module, changed; empty for a LightningModule's."""
    changed = dict(objective)
    for change in changes if objective else ():
        act = change.optimizer
        if change.gradients is not None:
            act = partial(_each, act=partial(_before_step, change=change.gradients))
        if act is not None:
            changed["torch_optimizer"] = partial(_then, changed["torch_optimizer"], act)
        if change.loss is not None:
            changed["torch_loss"] = partial(_losing, changed["torch_loss"], change.loss)
    return changed


def change_module(module: nn.Module, *, changes: Sequence[Change]) -> None:
    """Make changes to a module, those of training too where it is a LightningModule."""
    for change in changes:
        if change.spoil is not None:
            change.spoil(module)
        elif isinstance(module, L.LightningModule):
            module.__class__ = _overridden(type(module), change)


def _then(configure: Callable[..., Any], change: Callable[[Any], Any], parameters: Any) -> Any:
    return change(configure(parameters))


def _losing(loss: Callable[..., Any], change: Callable[..., Any], output: Any, target: Any) -> Any:
    return change(loss(output, target), output, target)


def _overridden(kind: Any, change: Change) -> type:
    class Changed(kind):  # type: ignore[misc, valid-type]
        def configure_optimizers(self) -> Any:
            configured = super().configure_optimizers()
            return configured if change.optimizer is None else change.optimizer(configured)

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            super().on_before_optimizer_step(optimizer)
            if change.gradients is not None:
                change.gradients(gradients(optimizer))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            result = super().training_step(batch, batch_idx)
            if change.loss is None:
                return result
            if isinstance(result, dict):
                return {**result, "loss": change.loss(result["loss"], None, batch[1])}
            return change.loss(result, None, batch[1])

    Changed.__name__ = Changed.__qualname__ = kind.__name__
    return Changed
