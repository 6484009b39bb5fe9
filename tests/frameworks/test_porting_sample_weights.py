"""Weights of samples and of classes: as `model.fit` takes them, and as a port gets them."""

import keras
import lightning as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import compare
from compare.errors import InputError

RNG = np.random.default_rng(0)
X, CLASSES = RNG.normal(size=(12, 5)), np.arange(12) % 3
WEIGHTS = RNG.uniform(0.5, 3.0, 12)
OF_CLASSES = {0: 1.0, 1: 5.0, 2: 0.5}


def keras_model():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, name="head")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.125), loss)
    return model


def port():
    return nn.Sequential(nn.Linear(5, 3))


def weighted(output, target, weights):
    return (F.cross_entropy(output, target, reduction="none") * weights).mean()


def by_sum(output, target, weights):
    return (F.cross_entropy(output, target, reduction="none") * weights).sum() / weights.sum()


def by_class(output, target):
    return weighted(
        output, target, torch.tensor(list(OF_CLASSES.values()), dtype=output.dtype)[target]
    )


class Lit(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(x)

    def training_step(self, batch, index):
        x, y, weights = batch
        return weighted(self(x), y, weights)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.125)


def check(module=port, loss=weighted, *, y=CLASSES, **weights):
    objective = {}
    if loss is not None:
        sgd = lambda p: torch.optim.SGD(p, lr=0.125)  # noqa: E731
        objective = {"torch_loss": loss, "torch_optimizer": sgd}
    options = {"weights_from": "keras", "dtype": "float64", **objective, **weights}
    return compare.check_parity(keras_model, module, X, y, **options)


@pytest.mark.parametrize(("module", "loss"), [(port, weighted), (Lit, None)])
def test_weights_of_samples_reach_both_sides(module, loss):
    report = check(module, loss, sample_weight=WEIGHTS)
    assert report.passed, report


def test_weights_of_classes_are_the_ports_own():
    assert check(loss=by_class, class_weight=OF_CLASSES).passed


def test_weights_that_are_forgotten_or_divided_by_are_caught():
    forgotten = check(loss=lambda o, t, w: F.cross_entropy(o, t), sample_weight=WEIGHTS)
    assert forgotten.first_divergence.layer == "loss"
    assert forgotten.first_divergence.explained_by == ()
    summed = check(loss=by_sum, sample_weight=WEIGHTS)
    assert summed.first_divergence.explained_by == ("sample-weights",)
    weights = torch.tensor(list(OF_CLASSES.values()), dtype=torch.float64)
    classes = check(loss=nn.CrossEntropyLoss(weight=weights), class_weight=OF_CLASSES)
    assert classes.first_divergence.explained_by == ("class-weights",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_weight": WEIGHTS[:3]}, "a number for each of 12 samples, received shape"),
        ({"sample_weight": WEIGHTS, "class_weight": OF_CLASSES}, "both at once"),
        ({"sample_weight": WEIGHTS, "y": None}, "there are no targets"),
        (
            {"class_weight": OF_CLASSES, "y": RNG.normal(size=(12, 2, 2))},
            "expected targets of classes",
        ),
    ],
)
def test_weights_that_cannot_be_used(options, message):
    with pytest.raises(InputError, match=message):
        check(**options)


def test_weights_within_the_targets_are_told_where_they_belong():
    with pytest.raises(InputError, match=r"y: received 2 arrays.* 1 output; .*sample_weight"):
        compare.check_parity(
            keras_model,
            port,
            X,
            (CLASSES, WEIGHTS),
            torch_loss=by_sum,
            torch_optimizer=lambda p: torch.optim.SGD(p, lr=0.125),
            weights_from="keras",
        )
