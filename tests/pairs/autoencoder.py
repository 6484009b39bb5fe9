"""An autoencoder with transposed convolutions, its own target.

At stride 2 TensorFlow's transposed `same` convolution crops at the end: one pixel for a kernel of
3, which `padding=1, output_padding=1` crops at the beginning; a kernel of 4 loses one on each side.
"""

import keras
import lightning as L
import numpy as np
from keras import layers
from torch import nn
from torch.nn import functional as F

from pairs import Bug
from pairs.optimizers import KerasAdam


def build_keras():
    encoder = keras.Sequential(
        [
            layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="down1"),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="down2"),
        ],
        name="encoder",
    )
    decoder = keras.Sequential(
        [
            layers.Conv2DTranspose(6, 4, strides=2, padding="same", activation="elu", name="up1"),
            layers.Conv2DTranspose(
                1, 3, strides=2, padding="same", activation="sigmoid", name="up2"
            ),
        ],
        name="decoder",
    )
    images = keras.Input((8, 8, 1))
    model = keras.Model(images, decoder(encoder(images)))
    adam = keras.optimizers.Adam(3e-3, beta_1=np.float64(0.9), beta_2=np.float64(0.999))
    model.compile(adam, "mean_squared_error")
    return model


class Crop(nn.Module):
    def forward(self, x):
        return x[..., :-1, :-1]


class Autoencoder(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.decode = nn.Sequential(
            nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1),
            nn.ELU(),
            nn.ConvTranspose2d(6, 1, 3, stride=2),
            Crop(),
            nn.Sigmoid(),
        )
        self.encode = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(1, 6, 3, stride=2),
            nn.ReLU(inplace=True),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(6, 8, 3, stride=2),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.decode(self.encode(x))

    def training_step(self, batch, batch_idx):
        x, target = batch
        return F.mse_loss(self(x), target, reduction="mean")

    def configure_optimizers(self):
        return [KerasAdam(self.parameters(), lr=3e-3)]


build_torch = Autoencoder


def inputs(rng):
    images = rng.random((5, 8, 8, 1))
    return images, images


class Summed(Autoencoder):
    def training_step(self, batch, batch_idx):
        x, target = batch
        return F.mse_loss(self(x), target, reduction="sum")


def cropped_at_the_beginning(module):
    module.decode[2].padding = module.decode[2].output_padding = (1, 1)
    module.decode[3] = nn.Identity()


def padded_alike(module):
    module.encode[3] = nn.Identity()
    module.encode[4].padding = (1, 1)


BUGS = [
    Bug("cropped at the beginning", "decoder/up2", 4, spoil=cropped_at_the_beginning),
    Bug("symmetric padding at stride 2", "encoder/down2", 4, spoil=padded_alike),
    Bug(
        "missing activation",
        "between decoder/up1 and decoder/up2",
        4,
        spoil=lambda m: m.decode.__setitem__(1, nn.Identity()),
    ),
    Bug("missing sigmoid", "loss", 5, spoil=lambda m: m.decode.__setitem__(4, nn.Identity())),
    Bug("summed loss", "loss", 5, build=Summed),
]
