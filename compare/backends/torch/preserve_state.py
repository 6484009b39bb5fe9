"""Leaving a module as it was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from compare.backends.attributes import attributes_as_found

_OPENED = (nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
"""What training changes attributes of."""

_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


@contextmanager
def as_found(module: nn.Module) -> Iterator[None]:
    """Put back everything that a module holds, and the random state.

    That is weights, buffers and other tensors, gradients, modes, hooks, the trainer, counters, and
    optimizers with what they keep, where the module has them. Gradients are None within the block.
    """
    with attributes_as_found([module], _OPENED, _keep), isolate_rng():
        for parameter in module.parameters():
            parameter.grad = None
        yield


@contextmanager
def training_as_found(*parts: Any) -> Iterator[None]:
    """Put back optimizers and schedules that may be a user's own, held outside of the module."""
    with attributes_as_found(parts, _OPENED, _keep):
        yield


def _keep(value: Any) -> Callable[[], None] | None:
    if not isinstance(value, Tensor) or nn.parameter.is_lazy(value):
        return None
    before = value.detach().clone()
    put_back = _leaf_as_it_is(value) if value.is_leaf else lambda: None

    def undo() -> None:
        with torch.no_grad():
            if value.shape != before.shape:
                value.data = before
            elif not torch.equal(value, before):
                value.copy_(before)
        put_back()

    return undo


def _leaf_as_it_is(tensor: Tensor) -> Callable[[], None]:
    trained, gradient = tensor.requires_grad, tensor.grad
    hooks = {name: dict(getattr(tensor, name, None) or {}) for name in _HOOKS}

    def undo() -> None:
        tensor.requires_grad_(trained)
        tensor.grad = gradient
        for name, before in hooks.items():
            # In the very dictionary that handles of hooks remove them from.
            if (now := getattr(tensor, name, None)) and dict(now) != before:
                now.clear()
                now.update(before)

    return undo


@contextmanager
def tensors_as_found(module: nn.Module) -> Iterator[None]:
    """Put back weights and buffers, and nothing else."""
    own: list[tuple[Any, str, Tensor, Tensor]] = [
        (held, name, tensor, tensor.detach().clone())
        for part in module.modules()
        for held in (part._parameters, part._buffers)
        for name, tensor in held.items()
        if tensor is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for held, name, tensor, value in own:
                # A module may have put another tensor in this one's place.
                held[name] = tensor
                tensor.copy_(value)


@contextmanager
def looking(module: nn.Module) -> Iterator[None]:
    """Forward passes in inference mode, without a graph; the module is left as it was found.

    They are no part of a training or an evaluation: what they draw uses up no shared numbers.
    """
    before = LOOKING.set(True)
    try:
        with as_found(module), torch.no_grad():
            module.eval()
            yield
    finally:
        LOOKING.reset(before)


LOOKING: ContextVar[bool] = ContextVar("LOOKING", default=False)
"""Whether a pass is one of `looking`."""
