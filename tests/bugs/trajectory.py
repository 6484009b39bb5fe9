"""Rungs 10 and 11: what sets in late, what is reported, and how a training ends."""

import math

import numpy as np
import torch
from torchmetrics.classification import BinaryAccuracy

from bn_torch.module import BinaryClassifier
from bn_torch.norm import BiasedBatchNorm
from bugs.register import bug, to_float32
from bugs.training import clip, track
from compare.backends.bugs import AFTER
from compare.backends.torch.bugs import override
from compare.selftest.bugs import Delegate

# Between epochs.


def at_epoch(handle, number, act):
    """Do something to the module at the start of an epoch, counted from 1."""

    def on_train_epoch_start(self):
        if self.current_epoch + 1 == number:
            act(self)

    override(handle, on_train_epoch_start=on_train_epoch_start)


@bug("a clip that bites rarely", variant=AFTER, rung=10, blame="every layer", size=1.8)
def gradients_rarely_clipped(handle, size):
    clip(handle, size)


@bug("the short last batch is not tracked", variant=AFTER, rung=10, blame="batch_norm")
def bn_short_batch_untracked(handle, size):
    def whole_batches(self, x):
        if len(x) == 32:
            BiasedBatchNorm._track(self, x)

    track(handle, whole_batches)


@bug("another momentum from epoch 2 on", variant=AFTER, rung=10, blame="batch_norm")
def bn_momentum_changes(handle, size):
    at_epoch(handle, 2, lambda module: setattr(module.model.batch_norm, "momentum", 0.02))


@bug("batch normalization frozen from epoch 2 on", variant=AFTER, rung=10, blame="every layer")
def bn_freezes(handle, size):
    at_epoch(handle, 2, lambda module: module.model.batch_norm.eval())


@bug("eval() left on from epoch 2 on", variant=AFTER, rung=10, blame="every layer")
def left_in_evaluation_mode(handle, size):
    at_epoch(handle, 2, lambda module: module.eval())


@bug("validates in training mode", variant=AFTER, rung=10, blame="batch_norm")
def validated_in_training_mode(handle, size):
    def validate(module):
        with torch.no_grad():
            module(torch.linspace(-1.0, 1.0, 64).reshape(32, 2))

    at_epoch(handle, 2, validate)


class Rounding(Delegate):
    """Rounds the weights at the end of every epoch."""

    def train(self, handle, data, *, on_epoch, **options):
        def after_epoch(*metrics):
            weights = self.framework.read_weights(handle)
            self.framework.write_weights(handle, {n: to_float32(w) for n, w in weights.items()})
            on_epoch(*metrics)

        self.framework.train(handle, data, on_epoch=after_epoch, **options)


@bug(
    "weights pass through float32 every epoch",
    changes="framework",
    variant=AFTER,
    rung=10,
    blame="every layer",
)
def weights_rounded(framework, size):
    return Rounding(framework)


@bug("velocities are lost every epoch", variant=AFTER, rung=10, blame="every layer")
def optimizer_state_lost(handle, size):
    def on_train_epoch_start(self):
        self.optimizers().state.clear()

    override(handle, on_train_epoch_start=on_train_epoch_start)


@bug("training ends before its last epoch", variant=AFTER, rung=10, blame="every layer")
def stops_early(handle, size):
    at_epoch(handle, 2, lambda module: setattr(module.trainer, "should_stop", True))


# What is predicted and reported.


class Predicting(Delegate):
    """Changes the probabilities that the framework predicts."""

    def __init__(self, framework, change):
        super().__init__(framework)
        self.change = change

    def predict_proba(self, handle, x, **options):
        return self.change(self.framework.predict_proba(handle, x, **options))


@bug("logits are returned", changes="framework", variant=AFTER, rung=10, blame="prediction")
def prediction_without_sigmoid(framework, size):
    return Predicting(framework, lambda p: np.log(p / (1.0 - p)))


class InTrainingMode(Delegate):
    def predict_proba(self, handle, x, *, batch_statistics=False):
        return self.framework.predict_proba(handle, x, batch_statistics=True)


@bug("eval() forgotten to predict", changes="framework", variant=AFTER, rung=10, blame="prediction")
def prediction_in_training_mode(framework, size):
    return InTrainingMode(framework)


class Averaging(Delegate):
    """Keeps the weights of every epoch."""

    def __init__(self, framework):
        super().__init__(framework)
        self.past = []

    def train(self, handle, data, *, on_epoch, **options):
        def after_epoch(*metrics):
            self.past.append(self.framework.read_weights(handle))
            on_epoch(*metrics)

        self.framework.train(handle, data, on_epoch=after_epoch, **options)

    def write_average(self, handle):
        average = {name: np.mean([w[name] for w in self.past], axis=0) for name in self.past[0]}
        self.framework.write_weights(handle, average)


class PredictingOfAverages(Averaging):
    def predict_proba(self, handle, x, **options):
        weights = self.framework.read_weights(handle)
        self.write_average(handle)
        predicted = self.framework.predict_proba(handle, x, **options)
        self.framework.write_weights(handle, weights)
        return predicted


@bug(
    "predicts with averaged weights",
    changes="framework",
    variant=AFTER,
    rung=10,
    blame="prediction",
)
def prediction_of_averages(framework, size):
    return PredictingOfAverages(framework)


@bug(
    "batches count alike, short or not",
    variant=AFTER,
    rung=10,
    blame="running_train_loss",
    explained_by=("epoch-metrics",),
)
def running_loss_unweighted(handle, size):
    def log(self, name, value, **options):
        BinaryClassifier.log(self, name, value, **options, batch_size=1)

    override(handle, log=log)


@bug("batches' losses are added up", variant=AFTER, rung=10, blame="running_train_loss")
def running_loss_summed(handle, size):
    def log(self, name, value, **options):
        BinaryClassifier.log(self, name, value, **{**options, "reduce_fx": "sum"})

    override(handle, log=log)


# The end of a training.


class AveragingAtTheEnd(Averaging):
    def train(self, handle, data, **options):
        super().train(handle, data, **options)
        self.write_average(handle)


@bug(
    "averages weights when training ends",
    changes="framework",
    variant=AFTER,
    rung=11,
    blame="prediction",
)
def weights_averaged_at_end(framework, size):
    return AveragingAtTheEnd(framework)


@bug("logits taken for probabilities", variant=AFTER, rung=11, blame="prediction")
def accuracy_of_logits(handle, size):
    # A logit counts from 0.5 on, as a probability would.
    handle.train_accuracy = BinaryAccuracy(threshold=1.0 / (1.0 + math.exp(-0.5)))
