"""A user's two models, as they are or as functions build them, in one dtype."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from compare.backends import protocol
from compare.errors import InputError
from compare.porting.sides import KerasSide, Objective, TorchSide, usable
from compare.porting.structures import Structure, checked

_MADE_UP = 4
"""Samples that are made up where none are given: enough to see what runs, and in which order."""

_EXPECTED = {"keras": "keras.Model", "torch": "torch.nn.Module"}


@dataclass(frozen=True)
class LivePair:
    """Two models that can be run.

    Attributes:
        keras: Keras' side.
        torch: Torch's side.
        x: Samples in the dtype of both.
        dtype: `"float32"` or `"float64"`.
    """

    keras: KerasSide
    torch: TorchSide
    x: Structure
    dtype: str


def live(
    keras_model: Any,
    torch_module: Any,
    x: Structure | None = None,
    *,
    dtype: str | None = None,
    objective: Objective | None = None,
    to_torch: Callable[[Structure], Structure] | None = None,
) -> LivePair:
    """Build what is to be built, and check that both compute in one dtype.

    Args:
        keras_model: A Keras model, or a function that returns one.
        torch_module: A Torch module, or a function that returns one.
        x: Samples in Keras' layout; None to make some up from the Keras model's inputs.
        dtype: `"float32"` or `"float64"`; None for float64 where a function builds a model, else
            for the Keras model's.
        objective: Loss and optimizer of a plain Torch module.
        to_torch: Puts samples into the module's layout.

    Raises:
        InputError: A model or the samples cannot be used.
        MissingDependencyError: Keras or Torch is not installed.
    """
    __tracebackhide__ = True
    if dtype is None and (is_factory(keras_model) or is_factory(torch_module)):
        dtype = "float64"
    models = {
        "keras": built("keras", keras_model, dtype),
        "torch": built("torch", torch_module, dtype),
    }
    with usable():
        found = _common(models, dtype)
        if x is None:
            x = _adapter("keras").sample_input(models["keras"], _MADE_UP, 0)
    torch = TorchSide(models["torch"], objective, to_torch)
    return LivePair(KerasSide(models["keras"]), torch, checked("x", x, found), found)


def is_factory(given: Any) -> bool:
    """Whether something is to be called for a model: a function or a class, and no model."""
    return inspect.isroutine(given) or inspect.isclass(given) or isinstance(given, partial)


def built(name: str, given: Any, dtype: str | None) -> Any:
    """A model as it is, or what a function builds in a dtype.

    Args:
        name: `"keras"` or `"torch"`.
        given: A model of that framework, or a function without arguments that returns one.
        dtype: What a function builds in; not looked at for a model.

    Raises:
        InputError: It is no model of the framework, or the function returned none.
    """
    __tracebackhide__ = True
    adapter = _adapter(name)
    if is_factory(given):
        _check_dtype(dtype)
        with adapter.building(dtype):
            model = given()
        if not adapter.is_model(model):
            raise InputError(
                f"{getattr(given, '__name__', given)}: expected to return a {_EXPECTED[name]}, "
                f"received {type(model).__name__}."
            )
        return model
    if not adapter.is_model(given):
        raise InputError(
            f"expected a {_EXPECTED[name]} or a function that returns one, received "
            f"{type(given).__name__}."
        )
    return given


def _common(models: Mapping[str, Any], asked: str | None) -> str:
    expected = asked or str(_adapter("keras").dtype_of(models["keras"]))
    for name, model in models.items():
        check_dtype(name, model, expected)
    return expected


def check_dtype(name: str, model: Any, expected: str) -> None:
    """Raise `InputError` unless a model computes in a dtype.

    Args:
        name: `"keras"` or `"torch"`.
        model: A model of that framework.
        expected: `"float32"` or `"float64"`.
    """
    _check_dtype(expected)
    with usable():
        dtype = _adapter(name).dtype_of(model)
    if dtype != expected:
        side = {"keras": "Keras model", "torch": "Torch module"}[name]
        raise InputError(
            f"the {side} computes in {dtype}, expected {expected}: build both in one dtype "
            "(keras.config.set_floatx and set_dtype_policy before building; module.to)."
        )


def _check_dtype(dtype: str | None) -> None:
    if dtype not in ("float32", "float64"):
        raise InputError(f"dtype: expected float32 or float64, received {dtype!r}.")


def _adapter(name: str) -> Any:
    return cast(Any, protocol.load(name))
