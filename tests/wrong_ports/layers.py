"""Wrong ports of layers: normalizations, images, activations, and weights as they start."""

from functools import partial

import numpy as np
import torch
from keras import layers as K
from torch import nn
from torch.nn import functional as F

from bn_torch import BiasedBatchNorm
from wrong_ports.wrong import (
    RNG,
    Computed,
    Wrong,
    after_building,
    as_keywords,
    as_value,
    compiled,
    done,
    keywords,
    mlp,
    port,
    value,
)

IMAGES = RNG(2).normal(size=(4, 6, 6, 3))
OF_IMAGES = (IMAGES, RNG(3).normal(size=(4, 2)))
AS_THEY_ARE = {"weights_from": None}
"""Weights are not carried over: they are what is wrong, or one side alone has some."""


def normed(**options):
    return mlp([lambda: K.BatchNormalization(name="norm", **options)])


def biased(kind=BiasedBatchNorm, **options):
    """Keras' numbers, but for those given."""
    return port(kind(4, **{"eps": 1e-3, "momentum": 1.0 - 0.99, **options}))


def norm(module):
    return {"norm": module[1]}


def frozen():
    module = biased()
    module[1].requires_grad_(False)
    return module


def evaluating():
    module = biased()
    module[1].eval()
    return module


class Images(nn.Module):
    """A convolution, something, the mean of the pixels, two outputs."""

    def __init__(self, conv, behind=None, before=None):
        super().__init__()
        self.conv, self.head = conv, nn.Linear(4, 2)
        self.before, self.behind = before or nn.Identity(), behind or nn.Identity()

    def forward(self, x):
        return self.head(self.behind(self.conv(self.before(x))).mean((2, 3)))


class OwnLayout(Images):
    """Takes images in Keras' layout."""

    def __init__(self, moved):
        super().__init__(nn.Conv2d(3, 4, 3))
        self.moved = moved

    def forward(self, x):
        return super().forward(self.moved(x))


def images(*parts, size=(6, 6, 3)):
    return lambda: compiled(
        *(make() for make in parts), K.GlobalAveragePooling2D(), K.Dense(2, name="head"), size=size
    )


def conv(**options):
    return lambda: K.Conv2D(4, 3, name="conv", **options)


def behind(*parts):
    """A convolution, some layers, a second convolution."""
    return Images(nn.Conv2d(3, 4, 3), nn.Sequential(*parts, nn.Conv2d(4, 4, 1)))


def smaller(module, x, **options):
    return F.interpolate(x, size=(2, 2), mode="bilinear", **options)


def strided(before=None, padding=1):
    return Images(nn.Conv2d(3, 4, 3, stride=2, padding=padding), before=before)


def padded_first(arguments, pad):
    before = Computed(lambda self, x: value(pad, x=x))
    return {"module": lambda: strided(before, **keywords(arguments))}


def transposed(cropped=None, padding=1, output_padding=1):
    upward = nn.ConvTranspose2d(3, 4, 3, 2, padding=padding, output_padding=output_padding)
    return Images(upward, cropped)


def cropped_behind(arguments, kept):
    cropped = Computed(lambda self, x: value(kept, x=x))
    return {"module": lambda: transposed(cropped, **keywords(arguments))}


def flattened(flatten=None):
    return nn.Sequential(nn.Conv2d(3, 4, 3), flatten or nn.Flatten(), nn.Linear(64, 2))


def by_hand(model, module, transpose=lambda kernel: np.moveaxis(kernel, (-1, -2), (0, 1))):
    """Load kernels and biases of two layers, without a look at what is between them."""
    layers = [part for part in module if isinstance(part, nn.Conv2d | nn.Linear)]
    weights = [layer.get_weights() for layer in model.layers if layer.get_weights()]
    for layer, (kernel, bias) in zip(layers, weights, strict=True):
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(transpose(kernel))))
        layer.bias.copy_(torch.from_numpy(bias))


def scrambled(model, module):
    """The shapes fit."""
    by_hand(model, module, lambda k: k.reshape(*k.shape[:-3:-1], *k.shape[:-2]))


def transposed_kernels(code):
    """The remedy is of the first layer; the second has a kernel of another rank."""

    def transpose(kernel):
        return value(code, kernel=kernel)

    def load(model, module):
        by_hand(model, module)
        module[0].weight.copy_(torch.from_numpy(transpose(model.layers[0].get_weights()[0]).copy()))

    return {"load": load}


def former_hard_sigmoid():
    return Computed(lambda self, x: (0.2 * x + 0.5).clamp(0, 1))


LAYERS = {
    "bn-momentum": as_keywords(normed(momentum=0.999), biased, {"momentum": 0.1}),
    "bn-momentum-copied": as_keywords(normed(momentum=0.75), biased, {"momentum": 0.75}),
    "bn-epsilon": as_keywords(normed(epsilon=1.001e-5), biased, {"eps": 1e-3}),
    "bn-biased-variance": as_value(normed(), biased, nn.BatchNorm1d),
    "bn-affine": Wrong(
        normed(center=False, scale=False),
        biased,
        options=AS_THEY_ARE,
        remedied=lambda code: {
            "module": lambda: biased(**keywords(code)),
            "weights_from": "keras",
        },
    ),
    "bn-affine: β alone": after_building(normed(center=False), biased, norm, options=AS_THEY_ARE),
    "bn-center-only": after_building(normed(scale=False), biased, norm, options=AS_THEY_ARE),
    "bn-frozen": after_building(normed(trainable=False), frozen, norm),
    "train-mode": after_building(normed(), evaluating, lambda module: {"model": module}),
    "norm-epsilon": as_keywords(
        mlp([lambda: K.LayerNormalization(epsilon=2e-3, name="norm")]),
        lambda **o: port(nn.LayerNorm(4, **o)),
        {},
    ),
    "leaky-relu-slope": as_value(mlp([lambda: K.LeakyReLU(0.25)]), port, nn.LeakyReLU()),
    "float32-constants": as_value(
        mlp([lambda: K.LeakyReLU(0.3)]),
        lambda slope: port(nn.LeakyReLU(slope)),
        0.3,
        options={"strict": True},
    ),
    "hard-sigmoid": as_value(
        mlp([lambda: K.Activation("hard_sigmoid")]), port, former_hard_sigmoid()
    ),
    "same-padding-stride": Wrong(
        images(conv(strides=2, padding="same")), strided, *OF_IMAGES, remedied=padded_first
    ),
    "same-padding-size": as_keywords(
        images(conv(dilation_rate=2, padding="same")),
        lambda padding: Images(nn.Conv2d(3, 4, 3, dilation=2, padding=padding)),
        {"padding": 1},
        *OF_IMAGES,
    ),
    "transposed-padding": Wrong(
        images(lambda: K.Conv2DTranspose(4, 3, strides=2, padding="same", name="conv")),
        transposed,
        *OF_IMAGES,
        remedied=cropped_behind,
    ),
    "average-pool-same": as_keywords(
        images(
            conv(), lambda: K.AveragePooling2D(3, strides=1, padding="same"), lambda: K.Conv2D(4, 1)
        ),
        lambda **o: behind(nn.AvgPool2d(3, 1, 1, **o)),
        {},
        *OF_IMAGES,
    ),
    "align-corners": as_keywords(
        images(conv(), lambda: K.UpSampling2D(2, interpolation="bilinear"), lambda: K.Conv2D(4, 1)),
        lambda **o: behind(nn.Upsample(scale_factor=2, **o)),
        {"mode": "bilinear", "align_corners": True},
        *OF_IMAGES,
    ),
    "resize-antialias": as_keywords(
        images(conv(), lambda: K.Resizing(2, 2), lambda: K.Conv2D(4, 1), size=(8, 8, 3)),
        lambda **o: behind(Computed(partial(smaller, **o))),
        {"antialias": True},
        RNG(2).normal(size=(4, 8, 8, 3)),
        OF_IMAGES[1],
    ),
    "image-layout": Wrong(
        images(conv()),
        lambda: OwnLayout(lambda x: x.reshape(-1, 3, 6, 6)),
        *OF_IMAGES,
        options={"to_torch": lambda x: x},
        remedied=lambda code: {"module": lambda: OwnLayout(lambda x: value(code, x=x))},
    ),
    "flatten-order": Wrong(
        lambda: compiled(
            K.Conv2D(4, 3, name="conv"), K.Flatten(), K.Dense(2, name="head"), size=(6, 6, 3)
        ),
        flattened,
        *OF_IMAGES,
        options=AS_THEY_ARE,
        load=by_hand,
        remedied=lambda code: {
            "module": lambda: flattened(Computed(lambda self, x: value(code, x=x)))
        },
    ),
    "kernel-layout": Wrong(
        mlp(), port, options=AS_THEY_ARE, load=scrambled, remedied=transposed_kernels
    ),
    "kernel-layout: of images": Wrong(
        lambda: compiled(K.Conv2D(4, 3), K.Conv2D(2, 4), K.Flatten(), size=(6, 6, 3)),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 4), nn.Flatten()),
        *OF_IMAGES,
        options=AS_THEY_ARE,
        load=scrambled,
        remedied=transposed_kernels,
    ),
    "initializers": Wrong(
        mlp(),
        port,
        options=AS_THEY_ARE,
        remedied=lambda code: {
            "load": lambda model, module: done(code, keras_model=model, torch_module=module)
        },
    ),
}
