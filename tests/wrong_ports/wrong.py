"""A wrong port, its Keras model, and what becomes of it where a remedy is followed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import torch
from keras import layers as K
from torch import nn, optim
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

import bn_torch
import compare

RNG = np.random.default_rng
KNOWN = {
    "torch": torch,
    "nn": nn,
    "F": F,
    "np": np,
    "compare": compare,
    "bn_torch": bn_torch,
    "pack_padded_sequence": pack_padded_sequence,
}
"""What a program has imported that follows a remedy."""


def value(code: str, **names: Any) -> Any:
    """What an expression of a remedy is, where a port has these names."""
    return eval(code, {**KNOWN, **names})


def keywords(code: str, **names: Any) -> dict[str, Any]:
    """What a remedy gives as arguments of a call."""
    return dict(value(f"dict({code})", **names))


def done(code: str, **names: Any) -> None:
    """Run the statements of a remedy."""
    exec(code, {**KNOWN, **names})


@dataclass(frozen=True)
class Wrong:
    """A Keras model, how a port is built, and what replaces parts of it.

    Attributes:
        model: Builds the Keras model, compiled.
        module: Builds the port.
        x: Samples; None for eight of five features.
        y: Targets; None for two per sample.
        loss: The port's.
        optimizer: The port's.
        options: More of `check_parity`.
        load: Fills the port from the model where `weights_from` is None.
        remedied: From the code of the remedy, a text per pair of back-ticks, to what `arguments`
            takes for it; None where no setting remedies it.
    """

    model: Callable[[], Any]
    module: Callable[[], nn.Module]
    x: Any = None
    y: Any = None
    loss: Callable[..., Any] = F.mse_loss
    optimizer: Callable[..., Any] = lambda p: optim.SGD(p, lr=0.125)
    options: dict[str, Any] = field(default_factory=dict)
    load: Callable[[Any, nn.Module], object] = lambda model, module: None
    remedied: Callable[..., dict[str, Any]] | None = None

    def arguments(
        self, *, model=None, module=None, loss=None, optimizer=None, load=None, **options
    ):
        """What `compare.check_parity` takes, with some parts replaced."""
        x = RNG(0).normal(size=(8, 5)) if self.x is None else self.x
        y = RNG(1).normal(size=(8, 2)) if self.y is None else self.y
        models = model or self.model(), (module or self.module)().double()
        with torch.no_grad():
            (load or self.load)(*models)
        objective = {
            "torch_loss": loss or self.loss,
            "torch_optimizer": optimizer or self.optimizer,
        }
        own = {"weights_from": "keras", **self.options}
        return (*models, x, y), {**objective, **own, **options}


def as_keywords(model, module, wrong, *rest, **more) -> Wrong:
    """A port whose builder has arguments that the remedy sets."""
    return Wrong(
        model,
        lambda: module(**wrong),
        *rest,
        **more,
        remedied=lambda code: {"module": lambda: module(**{**wrong, **keywords(code)})},
    )


def as_value(model, module, wrong, *rest, **more) -> Wrong:
    """A port whose builder takes what the remedy is."""
    return Wrong(
        model,
        lambda: module(wrong),
        *rest,
        **more,
        remedied=lambda code: {"module": lambda: module(value(code))},
    )


def after_building(model, module, remedy, *rest, **more) -> Wrong:
    """A port that the remedy changes once it is built.

    `remedy` is given the module and returns the names that the code has.
    """

    def changed(*codes):
        built = module()
        with torch.no_grad():
            for code in codes:
                done(code, **remedy(built))
        return built

    def remedied(*codes):
        # What one side alone had can be carried over now.
        return {"module": lambda: changed(*codes), "weights_from": "keras"}

    return Wrong(model, module, *rest, **more, remedied=remedied)


class Computed(nn.Module):
    """What a function makes of the input; code of a remedy sees the module as `self`."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def sgd():
    return keras.optimizers.SGD(0.125)


def compiled(*parts, size=(5,), optimizer=sgd, loss="mse", dtype=None):
    model = keras.Sequential([keras.Input(size, dtype=dtype), *parts])
    model.compile(optimizer(), loss)
    return model


def mlp(middle=(), outputs=2, **last):
    """Five features, four units, `middle`, outputs."""
    return lambda: compiled(
        K.Dense(4, name="a"), *(make() for make in middle), K.Dense(outputs, name="b", **last)
    )


def port(*middle, outputs=2):
    return nn.Sequential(nn.Linear(5, 4), *middle, nn.Linear(4, outputs))
