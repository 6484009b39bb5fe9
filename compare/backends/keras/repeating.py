"""Whether a model computes the same twice."""

from __future__ import annotations

import keras
import numpy as np

from compare.backends.keras import inputs, steps
from compare.backends.keras.inputs import Arrays
from compare.backends.keras.restoring import as_found
from compare.backends.keras.tensors import to_numpy


def repeats(model: keras.Model, x: Arrays) -> bool:
    """Whether two forward passes from the same state return the same in training mode, to the bit.

    Args:
        model: A built model; it is left as it was found.
        x: Samples.
    """
    with as_found(model), steps.eagerly():
        outputs = []
        for _ in range(2):
            # What a stateful layer keeps is no random number.
            with as_found(model, generators=False):
                outputs.append(steps.forward(model, inputs.tensors(x), training=True))
        one, other = ([to_numpy(leaf) for _, leaf in inputs.leaves(o)] for o in outputs)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))
