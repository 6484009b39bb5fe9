"""Ports whose loss is right or wrong: what it takes, how it is averaged, what is added to it."""

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

from verdicts.optimizers import K
from verdicts.port import Original, Port, fault
from verdicts.small import Lit, Perceptron, numbers, perceptron
from verdicts.training_ports import BOTH

Loss = Callable[[Any, Any], Any]

LOSS = fault("loss")
LOGITS, REDUCTION, PENALTY = "cross-entropy-logits", "loss-reduction", "regularizers-in-loss"
WEIGHTS = np.array([1.0, 5.0])


def loss_ports() -> Iterator[Port]:
    """Every one."""
    yield from _of_classes()
    yield from _of_labels()
    yield from _of_numbers()
    yield from _weighted()
    yield from _broadcast()
    yield from _penalized()


def _objective(loss: Loss) -> dict[str, Any]:
    return {"torch_loss": loss, "torch_optimizer": lambda p: optim.SGD(p, lr=0.1)}


def _sgd() -> Any:
    return K.SGD(0.1)


def classes(rng: np.random.Generator) -> tuple[Any, Any]:
    """16 samples and the number of their class."""
    return rng.normal(size=(16, 6)), rng.integers(0, 2, 16)


def one_hot(rng: np.random.Generator) -> tuple[Any, Any]:
    """16 samples and their class, one-hot."""
    x, y = classes(rng)
    return x, np.eye(2)[y]


def labels(rng: np.random.Generator) -> tuple[Any, Any]:
    """16 samples with two labels each, 0 or 1."""
    return rng.normal(size=(16, 6)), rng.integers(0, 2, (16, 2)).astype(float)


def _taking(original: Original, inputs: Any) -> Original:
    return Original(original.name, original.build, inputs)


def _ending(end: Callable[[Any], Any] | None) -> Callable[[], nn.Module]:
    return lambda: Perceptron(end)


def _softmax(x: torch.Tensor) -> torch.Tensor:
    return x.softmax(-1)


def _log_softmax(x: torch.Tensor) -> torch.Tensor:
    return x.log_softmax(-1)


def _nll_of_probabilities(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.nll_loss(output.log(), target)


def _of_classes() -> Iterator[Port]:
    probabilities = perceptron(
        "classes, softmax", _sgd, "sparse_categorical_crossentropy", activation="softmax"
    )
    probabilities = _taking(probabilities, classes)
    logits = perceptron(
        "classes, logits", _sgd, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    logits = _taking(logits, classes)
    for original in (probabilities, logits):
        for name, end, loss in (
            ("logits and cross_entropy", None, F.cross_entropy),
            ("LogSoftmax and NLLLoss", _log_softmax, F.nll_loss),
            ("softmax, log and NLLLoss", _softmax, _nll_of_probabilities),
            ("LogSoftmax and cross_entropy", _log_softmax, F.cross_entropy),
        ):
            for dtype in BOTH:
                objective = _objective(loss)
                yield Port(name, original, _ending(end), objective=objective, dtype=dtype)
        for name, end, loss, told in (
            (
                "softmax and cross_entropy",
                _softmax,
                F.cross_entropy,
                fault("loss", cause=LOGITS),
            ),
            (
                "cross_entropy summed",
                None,
                partial(F.cross_entropy, reduction="sum"),
                fault("loss", cause=REDUCTION),
            ),
            ("softmax over the batch", partial(torch.softmax, dim=0), _nll_of_probabilities,
             fault("loss", "output")),
            ("labels smoothed", None, partial(F.cross_entropy, label_smoothing=0.1),
             fault("loss", cause="label-smoothing")),
            ("NLLLoss of probabilities", _softmax, F.nll_loss,
             fault("loss", cause="nll-probabilities")),
        ):  # fmt: skip
            yield Port(name, original, _ending(end), told, _objective(loss))

    smooth = keras.losses.CategoricalCrossentropy(label_smoothing=0.2)
    original = _taking(perceptron("classes, smoothed", _sgd, smooth, activation="softmax"), one_hot)
    for dtype in BOTH:
        right = _objective(partial(F.cross_entropy, label_smoothing=0.2))
        yield Port("smoothed alike", original, Perceptron, objective=right, dtype=dtype)
    smoothing = fault("loss", cause="label-smoothing")
    yield Port("not smoothed", original, Perceptron, smoothing, _objective(F.cross_entropy))
    halved = _objective(partial(F.cross_entropy, label_smoothing=0.1))
    yield Port("half as smooth", original, Perceptron, smoothing, halved)


def _of_labels() -> Iterator[Port]:
    original = perceptron("labels, sigmoid", _sgd, "binary_crossentropy", activation="sigmoid")
    original = _taking(original, labels)
    for name, end, loss in (
        ("BCEWithLogitsLoss", None, F.binary_cross_entropy_with_logits),
        ("sigmoid and BCELoss", torch.sigmoid, F.binary_cross_entropy),
    ):
        for dtype in BOTH:
            yield Port(name, original, _ending(end), objective=_objective(loss), dtype=dtype)
    for name, end, loss, told in (
        (
            "sigmoid and BCEWithLogitsLoss",
            torch.sigmoid,
            F.binary_cross_entropy_with_logits,
            fault("loss", cause=LOGITS),
        ),
        (
            "BCELoss summed",
            torch.sigmoid,
            partial(F.binary_cross_entropy, reduction="sum"),
            fault("loss", cause=REDUCTION),
        ),
        (
            "hard sigmoid",
            lambda x: (0.2 * x + 0.5).clamp(1e-3, 1 - 1e-3),
            F.binary_cross_entropy,
            fault("output", "loss"),
        ),
        (
            "Torch's hard sigmoid",
            F.hardsigmoid,
            F.binary_cross_entropy,
            fault("output", "loss", also=["hard-sigmoid"]),
        ),
        (
            "positives weigh more",
            None,
            lambda o, t: F.binary_cross_entropy_with_logits(o, t, pos_weight=o.new_tensor(3.0)),
            LOSS,
        ),
        ("mean squared error", torch.sigmoid, F.mse_loss, LOSS),
    ):
        yield Port(name, original, _ending(end), told, _objective(loss))


def _of_numbers() -> Iterator[Port]:
    losses: dict[str, tuple[Any, Loss, dict[str, tuple[Loss, str | None]]]] = {
        "mse": (
            "mse",
            F.mse_loss,
            {
                "absolute": (F.l1_loss, None),
                "summed": (partial(F.mse_loss, reduction="sum"), REDUCTION),
                "summed over each sample": (
                    lambda o, t: (o - t).square().sum(-1).mean(),
                    REDUCTION,
                ),
                "its root": (lambda o, t: F.mse_loss(o, t).sqrt(), None),
            },
        ),
        "mae": (
            "mae",
            F.l1_loss,
            {"smooth": (F.smooth_l1_loss, None), "squared": (F.mse_loss, None)},
        ),
        "Huber, δ 2": (
            keras.losses.Huber(delta=2.0),
            nn.HuberLoss(delta=2.0),
            {
                "δ left at 1": (nn.HuberLoss(), None),
                "SmoothL1Loss, β 2": (nn.SmoothL1Loss(beta=2.0), "huber-delta"),
            },
        ),
        "log-cosh": (
            "log_cosh",
            lambda o, t: (o - t + F.softplus(-2.0 * (o - t)) - np.log(2.0)).mean(),
            {"Huber": (nn.HuberLoss(), None)},
        ),
    }
    for name, (loss, right, wrong) in losses.items():
        original = perceptron(f"numbers, {name}", _sgd, loss)
        for dtype in BOTH:
            objective = _objective(right)
            yield Port("the same loss", original, Perceptron, objective=objective, dtype=dtype)
        for other, (function, cause) in wrong.items():
            told = fault("loss", cause=cause)
            yield Port(other, original, Perceptron, told, _objective(function))


def _weighted() -> Iterator[Port]:
    def keras_loss(y_true: Any, y_pred: Any) -> Any:
        weights = keras.ops.convert_to_tensor(WEIGHTS, dtype=y_pred.dtype)
        each = keras.ops.take(weights, keras.ops.cast(y_true, "int32"))
        return each * keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)

    def right(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        each = F.cross_entropy(output, target, reduction="none")
        return (each * output.new_tensor(WEIGHTS)[target]).mean()

    def divided_by_weights(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output, target, weight=output.new_tensor(WEIGHTS))

    original = _taking(perceptron("classes, weighted", _sgd, keras_loss), classes)
    for dtype in BOTH:
        objective = _objective(right)
        yield Port("weighted by hand", original, Perceptron, objective=objective, dtype=dtype)
    wrong = _objective(divided_by_weights)
    told = fault("loss", also=["class-weights"])
    yield Port("cross_entropy(weight=…)", original, Perceptron, told, wrong)
    yield Port("not weighted", original, Perceptron, told, _objective(F.cross_entropy))


def _broadcast() -> Iterator[Port]:
    def build() -> keras.Model:
        model = keras.Sequential(
            [
                keras.Input((6,)),
                layers.Dense(8, activation="relu", name="hidden"),
                layers.Dense(1, name="head"),
            ]
        )
        model.compile(_sgd(), "mse")
        return model

    def inputs(rng: np.random.Generator) -> tuple[Any, Any]:
        return rng.normal(size=(16, 6)), rng.normal(size=16)

    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))

    original = Original("one number", build, inputs)
    for dtype in BOTH:
        right = _objective(lambda o, t: F.mse_loss(o[:, 0], t))
        yield Port("squeezed", original, network, objective=right, dtype=dtype)
    told = fault("loss", cause="broadcast-loss")
    yield Port("(n, 1) against (n,)", original, network, told, _objective(F.mse_loss))


def _penalized() -> Iterator[Port]:
    def build(regularizer: Any) -> keras.Model:
        model = keras.Sequential(
            [
                keras.Input((6,)),
                layers.Dense(8, "tanh", kernel_regularizer=regularizer, name="hidden"),
                layers.Dense(2, kernel_regularizer=regularizer, name="head"),
            ]
        )
        model.compile(_sgd(), "mse")
        return model

    def squares(factor: float, network: nn.Module) -> torch.Tensor:
        return factor * sum(m.weight.square().sum() for m in (network.hidden, network.head))

    def sizes(factor: float, network: nn.Module) -> torch.Tensor:
        return factor * sum(m.weight.abs().sum() for m in (network.hidden, network.head))

    def biases_too(factor: float, network: nn.Module) -> torch.Tensor:
        return factor * sum(p.square().sum() for p in network.parameters())

    def lit(**options: Any) -> Callable[[], nn.Module]:
        return lambda: Lit(Perceptron(), **options)

    for name, regularizer, right, wrong in (
        ("L2", keras.regularizers.L2(0.01), squares, sizes),
        ("L1", keras.regularizers.L1(0.01), sizes, squares),
    ):
        original = Original(f"mlp, {name}", partial(build, regularizer), numbers)
        for dtype in BOTH:
            build_right = lit(penalty=partial(right, 0.01))
            yield Port("penalty in the loss", original, build_right, dtype=dtype)
        known = fault("loss", cause=PENALTY)
        near = fault("loss", also=[PENALTY])
        yield Port("no penalty", original, lit(), known)
        yield Port("half the penalty", original, lit(penalty=partial(right, 0.005)), near)
        yield Port("the other penalty", original, lit(penalty=partial(wrong, 0.01)), near)
        yield Port("biases too", original, lit(penalty=partial(biases_too, 0.01)), near)
        decayed = lit(optimizer=lambda p: optim.SGD(p, lr=0.1, weight_decay=0.02))
        yield Port("a decay instead", original, decayed, known)
    without = Original("mlp, no penalty", partial(build, None), numbers)
    added = lit(penalty=partial(squares, 0.01))
    yield Port("a penalty too many", without, added, LOSS)
