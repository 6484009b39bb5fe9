"""The optimizers of a model: which there are, what they are given, and what they keep."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
from keras.optimizers import Optimizer

from compare.backends.keras.hooks import Note
from compare.backends.keras.preserve_state import shadow
from compare.backends.keras.rules import Tensor
from compare.backends.keras.structures import to_numpy
from compare.data import Array

_AVERAGES = "_model_variables_moving_average"

OnGradients = Callable[[Optimizer, Sequence[keras.Variable], Sequence[Any]], None]
"""Receives an optimizer, variables and their gradients as the loss has them, before it steps."""


def optimizers_of(model: keras.Model) -> dict[str, Optimizer]:
    """The optimizers that a model has as attributes: the compiled one, and others of its own."""
    optimizers = {k: v for k, v in vars(model).items() if isinstance(v, Optimizer)}
    if getattr(model, "optimizer", None) is not None:
        optimizers["optimizer"] = model.optimizer
    return optimizers


def stepping(optimizer: Optimizer) -> list[Optimizer]:
    """The optimizers that move weights: itself, or those that it hands its gradients to."""
    inner = getattr(optimizer, "inner_optimizer", None)
    within = [inner] if inner is not None else getattr(optimizer, "optimizers", [])
    return [last for each in within for last in stepping(each)] or [optimizer]


@dataclass
class Losses:
    """What the optimizers of a model make of its losses, while a step is taken.

    Attributes:
        unscaled: The losses that an optimizer was asked to scale, as they came.
        scale: What they are multiplied by, so that small gradients are not rounded away.
    """

    unscaled: list[Any] = field(default_factory=list)
    scale: float = 1.0

    def unscaling(self, back: Note) -> Note:
        """Hands over gradients of the loss itself."""

        def unscaled(name: str, gradient: Any) -> None:
            back(name, gradient if self.scale == 1.0 else gradient / self.scale)

        return unscaled


class Optimizers:
    """The optimizers of a model, which take its steps.

    Args:
        model: A model.
    """

    def __init__(self, model: keras.Model) -> None:
        self._outer = list(optimizers_of(model).values())
        self._began = {id(o): _steps_of(o) for o in self._stepping()}

    def _stepping(self) -> list[Optimizer]:
        every = [last for optimizer in self._outer for last in stepping(optimizer)]
        return list({id(optimizer): optimizer for optimizer in every}.values())

    def stepped(self) -> list[Optimizer]:
        """Those that took part in steps since this was made."""
        return [o for o in self._stepping() if _steps_of(o) > self._began.get(id(o), 0)]

    def built(self) -> list[Optimizer]:
        """Those that keep something of weights already."""
        return [o for o in self._stepping() if o.built]

    @contextmanager
    def watched(self, on_gradients: OnGradients) -> Iterator[Losses]:
        """While the block runs, losses and gradients that the optimizers are given are noted."""
        losses = Losses()
        with ExitStack() as stack:
            for optimizer in self._outer:
                self._watch(stack, optimizer, losses, on_gradients)
            yield losses

    def _watch(
        self, stack: ExitStack, optimizer: Optimizer, losses: Losses, on_gradients: OnGradients
    ) -> None:
        apply, scale_loss = optimizer.apply, optimizer.scale_loss
        scale = float(to_numpy(scale_loss(keras.ops.ones(()))))

        def noting_gradients(grads: Sequence[Any], trainable_variables: Any = None) -> Any:
            variables = trainable_variables
            if variables is None:
                variables = optimizer._trainable_variables
            grads, variables = list(grads), list(variables)
            as_is = scale == 1.0
            own = [g if g is None or as_is else keras.ops.divide(g, scale) for g in grads]
            on_gradients(optimizer, variables, own)
            return apply(grads, None if trainable_variables is None else variables)

        def noting_loss(loss: Any) -> Any:
            losses.unscaled.append(loss)
            losses.scale = scale
            return scale_loss(loss)

        shadow(stack, optimizer, "apply", noting_gradients)
        shadow(stack, optimizer, "scale_loss", noting_loss)


def _steps_of(optimizer: Optimizer) -> int:
    return int(to_numpy(optimizer._iterations))


def averages(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Array]]:
    """`<layer>/<tensor>` and its moving average, where an optimizer keeps one (`use_ema`)."""
    for name, attribute, value in _of_weights(optimizer, tensors):
        if attribute == _AVERAGES:
            yield name, value


def kept(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], beside: Collection[str]
) -> Iterator[tuple[str, Array]]:
    """What an optimizer keeps beside its slots: `<layer>/<tensor>/<attribute>`, or a number's name.

    Args:
        optimizer: It was built.
        tensors: The weights by canonical name.
        beside: Attributes that are slots.
    """
    listed: set[int] = set()
    for name, attribute, value in _of_weights(optimizer, tensors):
        if attribute not in (*beside, _AVERAGES):
            yield f"{name}/{attribute.strip('_')}", value
    for value in vars(optimizer).values():
        if isinstance(value, list):
            listed |= {id(v) for v in value if value is not optimizer._variables}
    # Keras numbers the variables that have no name of their own anew with every optimizer built.
    attributes = {id(value): name.strip("_") for name, value in vars(optimizer).items()}
    for variable in optimizer._variables:
        if id(variable) not in listed:
            yield attributes.get(id(variable), variable.name), to_numpy(variable)


def _of_weights(
    optimizer: Optimizer, tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str, str, Array]]:
    """Canonical name of a weight, an attribute that lists something of every weight, its value."""
    names = {id(tensor.variable): name for name, tensor in tensors.items()}
    weights = optimizer._trainable_variables
    for attribute, values in vars(optimizer).items():
        if not isinstance(values, list) or len(values) != len(weights) or values is weights:
            continue
        for weight, value in zip(weights, values, strict=True):
            name, same = names.get(id(weight)), isinstance(value, keras.Variable)
            if name is not None and same and value.shape == weight.shape and value is not weight:
                yield name, attribute, tensors[name].canonical(value)
