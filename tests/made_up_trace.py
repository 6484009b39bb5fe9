"""Traces of made-up arrays."""

import numpy as np

from compare.trace import TraceWriter


def written(folder, arrays, layers=()):
    """A trace that holds some arrays."""
    writer = TraceWriter(folder)
    for name, array in arrays.items():
        writer(name, array)
    return writer.close(list(layers))


def read(align, folder, kind, keras, torch):
    """What is read of Torch's array at a layer's input, forward and back, once it is aligned."""
    layers = [{"name": "layer", "kind": kind, "tensors": {}, "trained": 1}]
    keys = ["training/layer/input", "backward/layer/input"]
    sides = [
        written(folder / str(number), dict.fromkeys(keys, array), layers)
        for number, array in enumerate((keras, torch))
    ]
    found = align(*sides)
    assert np.array_equal(found[keys[0]], found[keys[1]])
    return found[keys[0]]
