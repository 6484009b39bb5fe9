"""Weights that no initializer gives, so that what is lost or swapped shows."""

import numpy as np

from compare.backends.keras.weights import read_weights, write_weights


def shaken(model):
    """The Keras model, every weight moved at random: no zeros, no ones."""
    rng = np.random.default_rng(1)
    weights = {}
    for name, value in read_weights(model).items():
        moved = (0.1 * rng.normal(size=value.shape)).astype(value.dtype)
        weights[name] = value + (np.abs(moved) if name.endswith("variance") else moved)
    write_weights(model, weights)
    return model
