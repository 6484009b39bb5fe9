"""Leaving a module as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn


@contextmanager
def as_found(module: nn.Module) -> Iterator[None]:
    """Put back weights, buffers, gradients, modes, trainers and the random state.

    Gradients are None within the block.
    """
    modes = {part: part.training for part in module.modules()}
    parameters = [(p, p.grad, p.requires_grad) for p in module.parameters()]
    trainers = {
        part: part._trainer for part in module.modules() if isinstance(part, L.LightningModule)
    }
    for parameter, _, _ in parameters:
        parameter.grad = None
    try:
        with tensors_as_found(module), isolate_rng():
            yield
    finally:
        for lightning, trainer in trainers.items():
            lightning._trainer = trainer
        for part, mode in modes.items():
            part.training = mode
        for parameter, gradient, trained in parameters:
            parameter.requires_grad_(trained)
            parameter.grad = gradient


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
    """Forward passes in inference mode, without a graph; the module is left as it was found."""
    with as_found(module), torch.no_grad():
        module.eval()
        yield
