"""Ports of networks with dropout on both sides, on one, of another kind or in another place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from keras import layers
from torch import nn
from torch.nn import functional as F

from verdicts.image_ports import OBJECTIVE, SPAN, Between, between
from verdicts.optimizers import K
from verdicts.port import Original, Port, fault
from verdicts.training_ports import BOTH

RATE, KIND, EVALUATED = "dropout-rate", "dropout-kind", "dropout-in-eval"


def dropout_ports() -> Iterator[Port]:
    """Every one."""
    yield from _between_dense_layers()
    yield from _between_convolutions()


class Dropped(nn.Module):
    """A perceptron with something behind its first layer, and something before it."""

    def __init__(self, dropout: nn.Module, before: nn.Module | None = None) -> None:
        super().__init__()
        self.before = before or nn.Identity()
        self.hidden, self.dropout, self.head = nn.Linear(6, 16), dropout, nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.dropout(self.hidden(self.before(x)).tanh()))


class Always(nn.Dropout):
    """Drops in evaluation too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.p)


class Functional(nn.Module):
    """Dropout as a function."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, 0.3, training=self.training)


def _samples(rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.normal(size=(16, 6)), rng.normal(size=(16, 2))


def _perceptron(name: str, *behind: Callable[[], Any]) -> Original:
    def build() -> keras.Model:
        hidden, head = layers.Dense(16, "tanh", name="hidden"), layers.Dense(2, name="head")
        model = keras.Sequential([keras.Input((6,)), hidden, *(b() for b in behind), head])
        model.compile(K.SGD(0.05), "mse")
        return model

    return Original(name, build, _samples)


def _between_dense_layers() -> Iterator[Port]:
    span = "between hidden and head"
    original = _perceptron("dropout", partial(layers.Dropout, 0.3))
    for name, dropout in (("as it is", partial(nn.Dropout, 0.3)), ("as a function", Functional)):
        for dtype in BOTH:
            build = _dropped(dropout)
            yield Port(name, original, build, objective=OBJECTIVE, dtype=dtype)
    for name, build, told in (
        ("rate 0.5", _dropped(partial(nn.Dropout, 0.5)), fault(span, cause=RATE)),
        ("the rate kept for the rate", _dropped(partial(nn.Dropout, 0.7)), fault(span, cause=RATE)),
        ("forgotten", _dropped(nn.Identity), fault(span, also=[RATE, KIND])),
        ("AlphaDropout", _dropped(partial(nn.AlphaDropout, 0.3)), fault(span, cause=KIND)),
        (
            "in evaluation too",
            _dropped(partial(Always, 0.3)),
            fault(span, "output", cause=EVALUATED),
        ),
        (
            "before the layer",
            lambda: Dropped(nn.Identity(), nn.Dropout(0.3)),
            fault("between the input and hidden", span, also=[RATE, KIND]),
        ),
        ("as it is, behind another function", _tanh_lost, fault(span)),
    ):
        yield Port(name, original, build, told, OBJECTIVE)
    without = _perceptron("no dropout")
    added = fault(span, also=[RATE, KIND])
    yield Port("dropout added", without, _dropped(partial(nn.Dropout, 0.3)), added, OBJECTIVE)
    alpha = _perceptron("AlphaDropout", partial(layers.AlphaDropout, 0.3))
    gaussian = _perceptron("GaussianDropout", partial(layers.GaussianDropout, 0.3))
    for dtype in BOTH:
        build = _dropped(partial(nn.AlphaDropout, 0.3))
        yield Port("as it is", alpha, build, objective=OBJECTIVE, dtype=dtype)
    kind = fault(span, cause=KIND)
    yield Port("Dropout", alpha, _dropped(partial(nn.Dropout, 0.3)), kind, OBJECTIVE)
    yield Port("Dropout", gaussian, _dropped(partial(nn.Dropout, 0.3)), kind, OBJECTIVE)


def _dropped(dropout: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Dropped(dropout())


def _tanh_lost() -> nn.Module:
    """Dropout as in Keras, and a wrong function before it."""
    return Dropped(nn.Sequential(nn.Hardtanh(-0.5, 0.5), nn.Dropout(0.3)))


def _between_convolutions() -> Iterator[Port]:
    spatial = between("SpatialDropout2D", partial(layers.SpatialDropout2D, 0.3))
    plain = between("dropout of images", partial(layers.Dropout, 0.3))
    kind = fault(SPAN, cause=KIND)
    dropouts = {nn.Dropout2d: spatial, nn.Dropout: plain}
    for right, original in dropouts.items():
        for dtype in BOTH:
            build = partial(_between, right)
            yield Port("as it is", original, build, objective=OBJECTIVE, dtype=dtype)
        (wrong,) = dropouts.keys() - {right}
        yield Port(wrong.__name__, original, partial(_between, wrong), kind, OBJECTIVE)


def _between(dropout: Callable[[float], nn.Module]) -> nn.Module:
    return Between(dropout(0.3))
