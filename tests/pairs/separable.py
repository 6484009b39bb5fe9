"""Depthwise-separable blocks, and a norm that has a shift and no scale."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn
from torch.nn import functional as F

from bn_torch import BiasedBatchNorm
from pairs import Bug


def build_keras():
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False, name="stem"),
            layers.BatchNormalization(scale=False, name="stem_bn"),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(
                3, padding="same", depth_multiplier=2, use_bias=False, name="depthwise"
            ),
            layers.BatchNormalization(name="depthwise_bn"),
            layers.LeakyReLU(0.25),
            layers.SeparableConv2D(
                10, 3, strides=2, padding="same", activation="elu", name="separable"
            ),
            layers.SeparableConv2D(8, 3, dilation_rate=2, padding="same", name="dilated"),
            layers.AveragePooling2D(2, padding="same"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(1, activation="sigmoid", name="head"),
        ]
    )
    sgd = keras.optimizers.SGD(0.02, momentum=np.float64(0.9), nesterov=True)
    model.compile(sgd, "binary_crossentropy")
    return model


class MobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(3, 6, 3, stride=2, bias=False),
            BiasedBatchNorm(6, eps=1e-3, momentum=1.0 - 0.99),
            nn.ReLU6(inplace=True),
            nn.Conv2d(6, 12, 3, padding=1, groups=6, bias=False),
            BiasedBatchNorm(12, eps=1e-3, momentum=1.0 - 0.99),
            nn.LeakyReLU(0.25, inplace=True),
        )
        self.features[2].weight = None
        self.dw1 = nn.Conv2d(12, 12, 3, stride=2, groups=12, bias=False)
        self.dw2 = nn.Conv2d(10, 10, 3, padding=2, dilation=2, groups=10, bias=False)
        self.pw1 = nn.Conv2d(12, 10, 1)
        self.pw2 = nn.Conv2d(10, 8, 1)
        self.pool = nn.AvgPool2d(2, ceil_mode=True)
        self.classifier = nn.Linear(8, 1)

    def forward(self, x):
        x = self.features(x)
        x = F.elu(self.pw1(self.dw1(F.pad(x, (0, 1, 0, 1)))))
        x = self.pw2(self.dw2(x))
        return self.classifier(self.pool(x).amax((2, 3)))


build_torch = MobileNet

OBJECTIVE = {
    "torch_loss": F.binary_cross_entropy_with_logits,
    "torch_optimizer": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
}


def inputs(rng):
    return 3.0 * rng.normal(size=(8, 12, 12, 3)), rng.integers(0, 2, (8, 1)).astype(float)


class ActivatedFirst(MobileNet):
    def __init__(self):
        super().__init__()
        self.features[5], self.features[6] = self.features[6], self.features[5]

    def load_state_dict(self, state, strict=True):
        renamed = {k.replace("features.5.", "features.6."): v for k, v in state.items()}
        return super().load_state_dict(renamed, strict=strict)


def scaled(module):
    module.features[2].weight = nn.Parameter(torch.ones(6, dtype=torch.float64))


def padding_averaged(module):
    module.pool = nn.AvgPool2d(2, padding=1)


def undilated(module):
    module.dw2.dilation, module.dw2.padding = (1, 1), (1, 1)


BUGS = [
    Bug("a norm with a scale too many", "stem_bn", 1, spoil=scaled),
    Bug("wrong dilation", "dilated", 4, spoil=undilated),
    Bug(
        "activation before the norm",
        "between depthwise and depthwise_bn",
        4,
        build=ActivatedFirst,
    ),
    Bug(
        "Torch's slope",
        "between depthwise_bn and separable/depthwise",
        4,
        spoil=lambda m: m.features.__setitem__(6, nn.LeakyReLU(inplace=True)),
    ),
    Bug("padding averaged in", "between dilated/pointwise and head", 4, spoil=padding_averaged),
    Bug(
        "Nesterov forgotten",
        "optimizer",
        7,
        objective={"torch_optimizer": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9)},
    ),
]
