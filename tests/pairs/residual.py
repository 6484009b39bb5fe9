"""A residual CNN: strided `same` convolutions, and a shortcut that Torch runs first."""

import keras
import lightning as L
import numpy as np
import torch
from keras import layers
from torch import nn

from bn_torch import BiasedBatchNorm
from pairs import Bug


def residual_block(x, filters, name):
    y = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name=f"{name}_conv1")(
        x
    )
    y = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn1")(y)
    y = layers.ReLU()(y)
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv2")(y)
    y = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn2")(y)
    x = layers.Conv2D(filters, 1, strides=2, use_bias=False, name=f"{name}_shortcut")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_shortcut_bn")(x)
    return layers.ReLU()(layers.Add()([y, x]))


def build_keras():
    inputs = keras.Input((10, 10, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs)
    x = residual_block(x, 8, "block1")
    x = residual_block(x, 12, "block2")
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(4, activation="softmax", name="head")(x))
    sgd = keras.optimizers.SGD(0.05, momentum=np.float64(0.9))
    model.compile(sgd, "sparse_categorical_crossentropy")
    return model


def norm(channels):
    return BiasedBatchNorm(channels, eps=1e-3, momentum=1.0 - 0.9)


class Block(nn.Module):
    """TensorFlow pads 10 pixels by (0, 1) and 5 pixels by (1, 1), at stride 2."""

    def __init__(self, channels, filters, padding):
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(channels, filters, 1, stride=2, bias=False), norm(filters)
        )
        self.pad = nn.ZeroPad2d(padding)
        self.conv_a = nn.Conv2d(channels, filters, 3, stride=2, bias=False)
        self.norm_a = norm(filters)
        self.conv_b = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.norm_b = norm(filters)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        identity = self.down(x)
        y = self.relu(self.norm_a(self.conv_a(self.pad(x))))
        y = self.norm_b(self.conv_b(y))
        y += identity
        return self.relu(y)


class ResNet(L.LightningModule):
    block = Block

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 4)
        self.conv = nn.Conv2d(3, 8, 3, padding="same")
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self.block(8, 8, (0, 1, 0, 1))
        self.layer2 = self.block(8, 12, 1)

    def forward(self, x):
        x = self.layer2(self.layer1(self.relu(self.conv(x))))
        return self.fc(x.mean((2, 3)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


build_torch = ResNet

PAIRS = {  # both branches have norms of one size, and they run in another order
    f"block{i}{ours}": f"layer{i}.{theirs}"
    for i in (1, 2)
    for ours, theirs in (("_bn1", "norm_a"), ("_bn2", "norm_b"), ("_shortcut_bn", "down.1"))
}


def inputs(rng):
    return rng.normal(size=(8, 10, 10, 3)), rng.integers(0, 4, 8)


class WithoutShortcut(Block):
    def forward(self, x):
        self.down(x)
        y = self.relu(self.norm_a(self.conv_a(self.pad(x))))
        return self.relu(self.norm_b(self.conv_b(y)))


class ForgottenResidual(ResNet):
    block = WithoutShortcut


def padded_alike(module):
    module.layer1.pad = nn.Identity()
    module.layer1.conv_a.padding = (1, 1)


def stock_norm(module):
    stock = nn.BatchNorm2d(12, eps=1e-3, momentum=1.0 - 0.9).double()
    stock.load_state_dict(module.layer2.norm_a.state_dict(), strict=False)
    module.layer2.norm_a = stock


BUGS = [
    Bug("symmetric padding at stride 2", "block1_conv1", 4, spoil=padded_alike),
    Bug(
        "forgotten residual",
        "between block1_shortcut_bn and block2_conv1",
        4,
        build=ForgottenResidual,
    ),
    Bug(
        "Torch's epsilon in one norm",
        "block2_bn2",
        4,
        spoil=lambda m: setattr(m.layer2.norm_b, "eps", 1e-5),
    ),
    Bug(
        "momentum copied",
        "block1_shortcut_bn",
        8,
        spoil=lambda m: setattr(m.layer1.down[1], "momentum", 0.9),
    ),
    Bug("unbiased variance", "block2_bn1", 8, spoil=stock_norm),
]
