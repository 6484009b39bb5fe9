"""Leaving a model as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from bn_keras.tensors import to_numpy


@contextmanager
def as_found(model: keras.Model) -> Iterator[None]:
    """Put back every variable: weights, statistics, metrics, states of random generators.

    Of metrics that did not exist yet, what they counted is forgotten.
    """
    kept = [(variable, to_numpy(variable)) for variable in _variables(model)]
    known = {id(variable) for variable, _ in kept}
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
