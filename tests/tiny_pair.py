"""A pair of functions with a right port and a wrong one; frameworks are imported inside."""

import numpy as np

X = np.random.default_rng(0).normal(size=(16, 4, 4, 2))
Y = np.tile([[0.0], [1.0]], (8, 1))


def keras_model():
    import keras

    model = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            keras.layers.Conv2D(3, 3, name="conv"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Flatten(),
            keras.layers.Dense(1, name="head"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), keras.losses.BinaryCrossentropy(from_logits=True))
    return model


def right_port():
    from bn_torch import BiasedBatchNorm

    return _port(BiasedBatchNorm(3, eps=1e-3, momentum=1.0 - 0.99))


def stock_port():
    from torch import nn

    return _port(nn.BatchNorm2d(3))


def almost_right_port():
    from torch import nn

    return _port(nn.BatchNorm2d(3, eps=1e-3, momentum=1.0 - 0.99))


def _port(norm):
    import lightning
    import torch
    from torch import nn

    class Port(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(2, 3, 3), norm, nn.Flatten(), nn.Linear(12, 1))

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            x, y = batch
            return nn.functional.binary_cross_entropy_with_logits(self(x), y)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Port()
