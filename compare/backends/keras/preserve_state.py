"""Leaving a model as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from compare.backends.keras.tensors import to_numpy

_ABSENT = object()


@contextmanager
def as_found(model: keras.Model, *, generators: bool = True) -> Iterator[None]:
    """Put back every variable: weights, statistics, metrics, states of random generators.

    Of metrics that did not exist yet, what they counted is forgotten.

    Args:
        model: A built model.
        generators: Whether random generators are put back too.
    """
    found = _variables(model)
    known = {id(variable) for variable in found}
    left = set() if generators else _states_of_generators(model)
    kept = [(variable, to_numpy(variable)) for variable in found if id(variable) not in left]
    try:
        yield
    finally:
        if any(id(variable) not in known for variable in _variables(model)):
            model.reset_metrics()
        for variable, value in kept:
            variable.assign(value)


def _variables(model: keras.Model) -> list[keras.Variable]:
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    states = [
        state
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.RNN)
        for state in keras.tree.flatten(layer.states or [])
        if isinstance(state, keras.Variable)
    ]
    return list({id(v): v for v in [*model.variables, *metrics, *states]}.values())


def _states_of_generators(model: keras.Model) -> set[int]:
    return {id(g.state) for layer in model._flatten_layers() for g in layer._seed_generators}


def shadow(stack: ExitStack, owner: Any, attribute: str, value: Any) -> None:
    """Replace an attribute of a layer, model or optimizer until the stack unwinds.

    In the instance's own dictionary: setting it the usual way would have Keras track it.
    """
    before = owner.__dict__.get(attribute, _ABSENT)
    owner.__dict__[attribute] = value

    def put_back() -> None:
        if before is _ABSENT:
            del owner.__dict__[attribute]
        else:
            owner.__dict__[attribute] = before

    stack.callback(put_back)
