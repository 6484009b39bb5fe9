"""Scaffold a parity test: a small pair that passes, or a test of the user's own two models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from compare.backends.structures import Structure
from compare.errors import InputError
from compare.porting.command import shapes

_NAME = "test_parity.py"

_EXAMPLE = '''"""A Keras model and its Torch port are the same computation."""

import lightning as L
import numpy as np
import torch
from bn_torch import BiasedBatchNorm
from torch import nn

rng = np.random.default_rng(0)
X = rng.normal(size=(32, 8))
Y = rng.integers(0, 2, (32, 1)).astype(float)


def keras_model():
    import keras  # here, so that recordings replay where TensorFlow is missing

    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ]
    )
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


class Port(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(8, 16),
            nn.ReLU(),
            # Keras' defaults; with nn.BatchNorm1d(16), see how this test fails.
            BiasedBatchNorm(16, eps=1e-3, momentum=1.0 - 0.99),
            nn.Linear(16, 1),
        )

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.binary_cross_entropy_with_logits(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_port(parity):
    parity(keras_model, Port, X, Y, weights_from="keras")
'''

_OWN = '''"""A Keras model and its Torch port are the same computation."""

import numpy as np

rng = np.random.default_rng(0)
X = {x}


def keras_model():
    # Imported here, so that recordings replay where TensorFlow is missing.
    from {keras[0]} import {keras[1]}

    return {keras[1]}()


def torch_module():
    from {torch[0]} import {torch[1]}

    return {torch[1]}()


def test_port(parity):
    # Only forward passes are compared. With targets after X, a compiled Keras model and
    # a LightningModule, losses, gradients and optimizer steps are compared too.
    parity(keras_model, torch_module, X, weights_from="keras")
'''


def write(folder: Path, keras: str, torch: str, input_shapes: Sequence[str]) -> Path:
    """Write the test file.

    Args:
        folder: Where; made if need be.
        keras: `module:function` that builds the Keras model; empty, like the next two, for an
            example that passes.
        torch: `module:function` that builds the Torch module.
        input_shapes: As `compare.porting.command.shapes` reads them.

    Returns:
        The file.

    Raises:
        InputError: It exists, or the arguments do not go together.
    """
    text = _text(keras, torch, input_shapes)
    file = folder / _NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError as error:
        raise InputError(
            f"{error.filename} exists already: expected a folder without {_NAME}."
        ) from None
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror}).") from None
    return file


def _text(keras: str, torch: str, input_shapes: Sequence[str]) -> str:
    if not keras and not torch and not input_shapes:
        return _EXAMPLE
    if not (keras and torch and input_shapes):
        raise InputError(
            "init: --keras, --torch and --input-shape belong together: give all three, or none "
            "for an example that passes."
        )
    parts = {"keras": _parts(keras), "torch": _parts(torch)}
    return _OWN.format(x=_drawn(shapes(input_shapes)), **parts)


def _parts(name: str) -> tuple[str, str]:
    module, _, function = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise InputError(f"{name!r}: expected module:function, such as models.net:build.")
    return module, function


def _drawn(empty: Structure) -> str:
    if isinstance(empty, dict):
        lines = [f"    {json.dumps(name)}: {_drawn(array)}," for name, array in empty.items()]
        return "\n".join(["{", *lines, "}"])
    if isinstance(empty, tuple):
        return "\n".join(["(", *(f"    {_drawn(array)}," for array in empty), ")"])
    return f"rng.normal(size={(8, *empty.shape[1:])})"
