"""Leaving a model as it was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import tensorflow as tf
from keras.src.utils.tracking import Tracker

from compare.backends.attributes import attributes_as_found
from compare.backends.keras.structures import to_numpy

_OPENED = (
    *(keras.Layer, keras.Loss, keras.Metric, keras.optimizers.Optimizer),
    *(keras.optimizers.schedules.LearningRateSchedule, keras.random.SeedGenerator, Tracker),
)
"""What training changes attributes of. A `Tracker` has the list of variables of each of them."""


@contextmanager
def as_found(model: keras.Model, *, generators: bool = True) -> Iterator[None]:
    """Put back every variable and every attribute of a model and of what it is made of.

    That is weights, statistics, states of layers and random generators, metrics and loss trackers,
    functions that Keras compiled, and optimizers: one that was not built is not built again.

    Args:
        model: A built model.
        generators: Whether random generators are put back too.
    """
    moving: set[int] = set()
    if not generators:
        moving = {id(g.state) for layer in model._flatten_layers() for g in layer._seed_generators}

    def keep(value: Any) -> Callable[[], None] | None:
        if not isinstance(value, (keras.Variable, tf.Variable)) or id(value) in moving:
            return None
        before = to_numpy(value)
        return lambda: value.assign(before)

    with attributes_as_found([model], _OPENED, keep):
        yield


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
