"""Layers that this package does not know: how a Torch module's weights become a Keras layer's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from compare.backends import protocol
from compare.errors import InputError

Rule = Mapping[str, str | tuple[str, tuple[int, ...]]]
"""Keras variable → Torch parameter, or that and the axes which transpose it to Keras' layout."""


def weight_rule(keras_type: type, torch_type: type) -> Callable[[Callable[[], Rule]], Rule]:
    """Register how a layer of one framework corresponds to one of the other.

    The decorated function takes nothing and says, for every variable of the Keras layer by its
    name, which parameter of the Torch module it is, and how that is transposed. The layers then
    count as one whole: what is inside is not looked into.

    ```python
    @compare.weight_rule(MyDense, MyLinear)
    def my_dense():
        return {"kernel": ("projection.weight", (1, 0)), "scale": "scale"}
    ```

    Args:
        keras_type: A subclass of `keras.Layer`.
        torch_type: A subclass of `torch.nn.Module`.

    Returns:
        A decorator, which returns the rule.

    Raises:
        InputError: The function returned something else.
        MissingDependencyError: Keras or Torch is not installed.
    """
    if not (isinstance(keras_type, type) and isinstance(torch_type, type)):
        raise InputError(
            "weight_rule: expected a Keras layer type and a Torch module type, received "
            f"{keras_type!r} and {torch_type!r}."
        )

    def register(function: Callable[[], Rule]) -> Rule:
        rule = function()
        if not isinstance(rule, Mapping) or not rule:
            raise InputError(
                f"weight_rule: expected {{Keras variable: Torch parameter}} from the function, "
                f"received {rule!r}."
            )
        kind = keras_type.__name__
        cast(Any, protocol.load("keras")).add_rule(keras_type, kind=kind, names=None)
        cast(Any, protocol.load("torch")).add_rule(torch_type, kind=kind, names=dict(rule))
        return rule

    return register
