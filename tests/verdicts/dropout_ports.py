"""Ports of networks with dropout on both sides, on one, of another kind or in another place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from keras import layers
from torch import nn, optim
from torch.nn import functional as F

from verdicts.image_ports import OBJECTIVE, SPAN, Between, between
from verdicts.optimizers import K, trained
from verdicts.port import Original, Port, fault
from verdicts.sequence_ports import single_bias
from verdicts.training_ports import BOTH

RATE, KIND, EVALUATED = "dropout-rate", "dropout-kind", "dropout-in-eval"
MISSING, PLACE = "dropout-missing", "dropout-place"


def dropout_ports() -> Iterator[Port]:
    """Every one."""
    yield from _between_dense_layers()
    yield from _between_convolutions()
    yield from _of_tokens()


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
        ("forgotten", _dropped(nn.Identity), fault(span, cause=MISSING)),
        ("AlphaDropout", _dropped(partial(nn.AlphaDropout, 0.3)), fault(span, cause=KIND)),
        (
            "in evaluation too",
            _dropped(partial(Always, 0.3)),
            fault(span, "output", cause=EVALUATED),
        ),
        (
            "before the layer",
            lambda: Dropped(nn.Identity(), nn.Dropout(0.3)),
            fault("between the input and hidden", span, cause=PLACE),
        ),
        ("as it is, behind another function", _tanh_lost, fault(span)),
    ):
        yield Port(name, original, build, told, OBJECTIVE)
    without = _perceptron("no dropout")
    added = fault(span, cause=MISSING)
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


class Tagger(nn.Module):
    """Embedded tokens, an LSTM, dropout and six labels."""

    def __init__(self, rate: float = 0.1, *, twice: bool = False) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(16, 5), nn.LSTM(5, 4, batch_first=True)
        self.dropout, self.head = nn.Dropout(rate), nn.Linear(4, 6)
        if not twice:
            single_bias(self.rnn)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.dropout(self.rnn(self.embed(x))[0][:, -1])).sigmoid()


def _of_tokens() -> Iterator[Port]:
    def build() -> keras.Model:
        model = keras.Sequential(
            [
                keras.Input((9,), dtype="int32"),
                layers.Embedding(16, 5, name="embed"),
                layers.LSTM(4, name="rnn"),
                layers.Dropout(0.1),
                layers.Dense(6, activation="sigmoid", name="head"),
            ]
        )
        model.compile("adam", "binary_crossentropy")
        return model

    def inputs(rng: np.random.Generator) -> tuple[Any, Any]:
        return rng.integers(0, 16, (12, 9)), rng.integers(0, 2, (12, 6)).astype(float)

    original = Original("tokens with dropout and Adam", build, inputs)
    objective = {
        "torch_loss": F.binary_cross_entropy,
        "torch_optimizer": lambda p: optim.Adam(trained(p), eps=1e-7),
    }
    for dtype in BOTH:
        yield Port("as it is", original, Tagger, objective=objective, dtype=dtype)
    rate = fault("between rnn and head", cause=RATE)
    yield Port("rate 0.2", original, partial(Tagger, 0.2), rate, objective)
    biases = fault("rnn", cause="lstm-single-bias")
    yield Port("both biases", original, partial(Tagger, twice=True), biases, objective)
