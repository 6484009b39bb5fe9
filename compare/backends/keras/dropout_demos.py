"""Small computations for the conventions of dropout, as in `demos`, with shared numbers."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from compare.backends.draws import Draws
from compare.backends.keras.demos import Demonstration, normal
from compare.backends.keras.randomness import shared


def _trained(*parts: keras.Layer) -> dict[str, Any]:
    """What these layers return in training mode."""
    return _output(parts, training=True)


def _output(parts: tuple[keras.Layer, ...], *, training: bool) -> dict[str, Any]:
    x = normal(6, 4, 3)
    model = keras.Sequential([keras.Input(x.shape[1:]), *parts])
    draws = Draws()
    with shared(model, draws):
        draws.begin(1)
        return {"output": model(x, training=training)}


DEMONSTRATIONS: dict[str, Demonstration] = {
    "dropout-rate": lambda remedied: _trained(layers.Dropout(0.25)),
    "dropout-kind": lambda remedied: _trained(layers.SpatialDropout1D(0.25)),
    "dropout-in-eval": lambda remedied: _output((layers.Dropout(0.25),), training=False),
    "dropout-missing": lambda remedied: _trained(layers.Dropout(0.25)),
    "dropout-place": lambda remedied: _trained(
        layers.Dropout(0.25), layers.LayerNormalization(epsilon=1e-3)
    ),
}
