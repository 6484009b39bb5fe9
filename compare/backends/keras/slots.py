"""Copies of a model's optimizers, so that the originals are left alone, and what they remember."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from compare.backends.keras.tensors import Tensor

_O = keras.optimizers
_SLOTS: dict[type, dict[str, str]] = {
    _O.SGD: {"momentums": "velocity"},
    _O.Adam: {
        "_momentums": "first_moment",
        "_velocities": "second_moment",
        "_velocity_hats": "max_second_moment",
    },
    _O.RMSprop: {
        "_velocities": "second_moment",
        "_momentums": "velocity",
        "_average_gradients": "average_gradient",
    },
}
"""Attribute of an optimizer → name of the slot. AdamW is an Adam."""


def optimizers_of(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """The optimizers that a model has as attributes: the compiled one, and others of its own."""
    found = {k: v for k, v in vars(model).items() if isinstance(v, keras.optimizers.Optimizer)}
    if getattr(model, "optimizer", None) is not None:
        found["optimizer"] = model.optimizer
    return found


def copied(
    original: keras.optimizers.Optimizer, variables: list[keras.Variable] | None
) -> keras.optimizers.Optimizer:
    """An optimizer as another one stands: its settings, its iteration, its slots.

    Args:
        original: It is left alone.
        variables: What it will train, if it has not trained yet; None to leave that to the steps.

    Raises:
        ValueError: It keeps averages of weights, scales the loss or cannot be copied.
    """
    kind = type(original).__name__
    if original.use_ema:
        raise ValueError(
            f"the optimizer {kind} keeps a moving average of the weights (use_ema=True), which has "
            "no counterpart in Torch: compile without it to compare"
        )
    if original.loss_scale_factor is not None or isinstance(original, _O.LossScaleOptimizer):
        raise ValueError(f"the optimizer {kind} scales the loss: compile without that to compare")
    config = original.get_config()
    if isinstance(config.get("learning_rate"), dict):
        # A schedule remembers nothing: it need not be one that Keras could load.
        config["learning_rate"] = original._learning_rate
    try:
        copy = type(original).from_config(config)
    except Exception as error:
        raise ValueError(f"the optimizer {kind} cannot be copied: {error}") from error
    if original.built:
        copy.build(original._trainable_variables)
        for ours, theirs in zip(copy.variables, original.variables, strict=True):
            ours.assign(theirs)
    elif variables is not None:
        copy.build(variables)
    return copy


def slots(
    optimizer: keras.optimizers.Optimizer, tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str, np.ndarray]]:
    """What an optimizer remembers of every weight: `<layer>/<tensor>/<slot>` and an array.

    Args:
        optimizer: SGD, Adam, AdamW or RMSprop; others have slots that no one else knows.
        tensors: The weights by canonical name.
    """
    names = {id(tensor.variable): name for name, tensor in tensors.items()}
    known: dict[str, str] = next(
        (found for kind, found in _SLOTS.items() if isinstance(optimizer, kind)), {}
    )
    for attribute, slot in known.items():
        held: list[Any] = getattr(optimizer, attribute, None) or []
        for value, variable in zip(held, optimizer._trainable_variables, strict=bool(held)):
            name = names.get(id(variable))
            if name is not None and value is not None:
                yield f"{name}/{slot}", tensors[name].canonical(value)
