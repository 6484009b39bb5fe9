"""Leaving a model as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from compare.backends.keras.rules import states_between_batches
from compare.backends.keras.structures import to_numpy


@contextmanager
def as_found(model: keras.Model, *, generators: bool = True) -> Iterator[None]:
    """Put back every variable: weights, statistics, metrics, states of random generators.

    Metrics that did not exist before forget what they counted.

    Args:
        model: A built model.
        generators: Whether random generators are put back too.
    """
    before = _variables(model)
    moving: set[int] = set()
    if not generators:
        moving = {id(g.state) for layer in model._flatten_layers() for g in layer._seed_generators}
    values = {key: to_numpy(v) for key, v in before.items() if key not in moving}
    try:
        yield
    finally:
        if _variables(model).keys() - before.keys():
            model.reset_metrics()
        for key, value in values.items():
            before[key].assign(value)


def _variables(model: keras.Model) -> dict[int, keras.Variable]:
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    variables = [*model.variables, *metrics, *states_between_batches(model)]
    return {id(variable): variable for variable in variables}


def shadow(stack: ExitStack, owner: Any, attribute: str, value: Any) -> None:
    """Replace an attribute of a layer, model or optimizer until the stack unwinds.

    In the instance's own dictionary: setting it the usual way would have Keras track it.
    """
    own = vars(owner)
    if attribute in own:
        stack.callback(own.__setitem__, attribute, own[attribute])
    else:
        stack.callback(own.pop, attribute)
    own[attribute] = value
