"""A Sequential in a functional model in a subclassed one, with a `train_step` of its own."""

import keras
import lightning as L
import numpy as np
import tensorflow as tf
import torch
from keras import layers, ops
from torch import nn
from torch.nn import functional as F

from bn_torch import BiasedBatchNorm
from pairs import Bug


def backbone():
    stem = keras.Sequential(
        [
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(scale=True, center=False, momentum=0.8, name="norm"),
            layers.Activation("relu"),
        ],
        name="stem",
    )
    images = keras.Input((7, 7, 2))
    x = stem(images)
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="inner")(x)
    pooled = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    return keras.Model(images, pooled, name="backbone")


class Penalized(keras.Model):
    """Large outputs cost something: a loss of the training step alone."""

    def __init__(self):
        super().__init__()
        self.backbone = backbone()
        self.head = layers.Dense(2, name="head")

    def call(self, x, training=None):
        return self.head(self.backbone(x, training=training))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            penalty = 0.125 * ops.mean(ops.square(outputs))
            loss = self.compute_loss(x=x, y=y, y_pred=outputs) + penalty
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for metric in self.metrics:
            metric.update_state(loss)
        return {metric.name: metric.result() for metric in self.metrics}


def build_keras():
    model = Penalized()
    model(np.zeros((1, 7, 7, 2)))
    rate = keras.optimizers.schedules.InverseTimeDecay(
        np.float64(0.1), decay_steps=1, decay_rate=np.float64(0.5)
    )
    model.compile(keras.optimizers.SGD(rate), "mean_squared_error")
    return model


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        norm = BiasedBatchNorm(4, eps=1e-3, momentum=1.0 - 0.8)
        norm.bias = None
        self.mix = nn.Conv2d(4, 4, 3, padding=1)
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3), norm, nn.ReLU())

    def forward(self, x):
        x = self.stem(x)
        x = x + self.mix(x).relu()
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


class Regressor(L.LightningModule):
    def __init__(self, *, penalty=0.125, interval="step"):
        super().__init__()
        self.save_hyperparameters()
        self.out = nn.Linear(4, 2)
        self.net = Body()

    def forward(self, x):
        return self.out(self.net(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        outputs = self(x)
        loss = F.mse_loss(outputs, y) + self.hparams.penalty * outputs.square().mean()
        self.log("loss", loss, prog_bar=True)
        return {"loss": loss, "outputs": outputs.detach()}

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (1.0 + 0.5 * step))
        return [optimizer], [{"scheduler": rate, "interval": self.hparams.interval}]


build_torch = Regressor


def inputs(rng):
    return rng.normal(size=(6, 7, 7, 2)), rng.normal(size=(6, 2))


class Unactivated(Body):
    def forward(self, x):
        x = self.stem(x)
        return F.adaptive_avg_pool2d(x + self.mix(x), 1).flatten(1)


def unactivated():
    module = Regressor()
    module.net = Unactivated()
    return module


BUGS = [
    Bug("penalty forgotten", "loss", 5, build=lambda: Regressor(penalty=0.0)),
    Bug("a schedule per epoch", "optimizer", 7, build=lambda: Regressor(interval="epoch")),
    Bug("missing activation", "between backbone/inner and head", 4, build=unactivated),
    Bug(
        "momentum left at Torch's",
        "backbone/stem/norm",
        8,
        spoil=lambda m: setattr(m.net.stem[1], "momentum", 0.1),
    ),
    Bug(
        "an epsilon too large",
        "backbone/stem/norm",
        4,
        spoil=lambda m: setattr(m.net.stem[1], "eps", 1e-2),
    ),
]
