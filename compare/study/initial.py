"""What every run starts from, drawn in NumPy: initial weights and the order of the batches.

Random streams of two frameworks never match, so neither framework draws. Every tensor has a
generator of its own, seeded by the run's seed and the tensor's name: two variants that share a
layer also share its initial weights, which pairs a network with its baseline.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from compare.data import Array

_FORGET_GATE = 1
"""Position of the forget gate among an LSTM's four: input, forget, cell, output."""


def initial_weights(
    shapes: Mapping[str, tuple[int, ...]], *, seed: int, unit_forget_bias: bool = True
) -> dict[str, Array]:
    """Keras' default initial weights (he_uniform for `hidden`), for tensors given by name.

    Args:
        shapes: Canonical name (`"hidden/kernel"`) → shape in Keras' layout.
        seed: Seed of the run.
        unit_forget_bias: Whether an LSTM's forget gate starts with bias 1, as in Keras.

    Returns:
        Canonical name → float64 array, in the order of `shapes`.

    Raises:
        KeyError: No initializer is known for a tensor's name.
    """
    lstm = {name.rpartition("/")[0] for name in shapes if name.endswith("/recurrent_kernel")}
    weights = {}
    for name, shape in shapes.items():
        layer, _, tensor = name.rpartition("/")
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        weights[name] = _draw(layer, tensor, shape, rng)
        if tensor == "bias" and layer in lstm and unit_forget_bias:
            units = shape[0] // 4
            weights[name][_FORGET_GATE * units : (_FORGET_GATE + 1) * units] = 1.0
    return weights


def _draw(layer: str, tensor: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if tensor in ("gamma", "moving_variance"):
        return np.ones(shape)
    if tensor in ("beta", "bias", "moving_mean"):
        return np.zeros(shape)
    if tensor == "recurrent_kernel":
        return orthogonal(shape, rng)
    if tensor == "kernel":
        return he_uniform(shape, rng) if layer == "hidden" else glorot_uniform(shape, rng)
    raise KeyError(f"no initializer for {layer}/{tensor}")


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    receptive = int(np.prod(shape[:-2]))
    return shape[-2] * receptive, shape[-1] * receptive


def glorot_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Uniform in ±√(6 / (fan_in + fan_out)) (Glorot & Bengio 2010); last axes are (in, out)."""
    fan_in, fan_out = _fans(shape)
    limit = np.sqrt(6.0 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, shape)


def he_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Uniform in ±√(6 / fan_in) (He et al. 2015); last axes are (in, out)."""
    limit = np.sqrt(6.0 / _fans(shape)[0])
    return rng.uniform(-limit, limit, shape)


def orthogonal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A matrix with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014).

    The signs are fixed by the diagonal of R, which makes the draw uniform over such matrices,
    as in `keras.initializers.Orthogonal`.
    """
    rows, columns = shape
    normal = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q *= np.sign(np.diag(r))
    return np.ascontiguousarray(q if rows >= columns else q.T)


def batch_orders(n: int, *, epochs: int, seed: int) -> NDArray[np.int64]:
    """The order of the samples in every epoch, (epochs, n): one fresh permutation each.

    Batches are consecutive slices of a row. Epoch `e` depends on the seed and `e` alone, so a
    longer study begins with the same epochs as a shorter one.
    """
    return np.stack(
        [np.random.default_rng([seed, epoch]).permutation(n) for epoch in range(epochs)]
    )


def lived_in(weights: Mapping[str, Array], *, seed: int) -> dict[str, Array]:
    """Weights and statistics of which none is at its default any more.

    A port that forgets to copy gamma, or swaps mean and variance, would pass from defaults: those
    are the same on both sides. Every value moves by up to 0.05; variances stay positive.
    """
    moved: dict[str, Array] = {}
    for name, value in weights.items():
        rng = np.random.default_rng([seed, 1, zlib.crc32(name.encode())])
        moved[name] = value + rng.uniform(-0.05, 0.05, value.shape)
    return moved
