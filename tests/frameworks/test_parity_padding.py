"""Padding, cropping, pooling, resizing and heads: a convention is named where it is all of it.

Each case is three ports: one with the convention left out, which is named; the same with something
else wrong in the same place, which is not; and one with the remedy, which passes.
"""

from functools import partial

import keras
import numpy as np
import pytest
import torch
from keras import layers as K
from torch import nn
from torch.nn import functional as F

import compare

DTYPES = ["float64", "float32"]


def explained(model, module, size, dtype="float64", weights_from="keras"):
    """What is named of a port; None where it passes."""
    keras.utils.set_random_seed(0)
    torch.manual_seed(0)
    report = compare.check_parity(
        model,
        module,
        np.random.default_rng(0).normal(size=(4, *size)),
        np.random.default_rng(1).normal(size=(4, 2)),
        torch_loss=F.mse_loss,
        torch_optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
        weights_from=weights_from,
        dtype=dtype,
    )
    return None if report.passed else report.first_divergence.explained_by


class Also(nn.Module):
    """Something else that is wrong in the same place."""

    def forward(self, x):
        return 1.001 * x


def scaled(layer):
    """The same layer, which returns a little more."""
    kind = type(layer)
    layer.__class__ = type(
        kind.__name__, (kind,), {"forward": lambda self, x: 1.001 * kind.forward(self, x)}
    )
    return layer


CONVS = {1: (K.Conv1D, nn.Conv1d), 2: (K.Conv2D, nn.Conv2d), 3: (K.Conv3D, nn.Conv3d)}
SIZES = {1: (7, 3), 2: (7, 6, 3), 3: (5, 4, 6, 3)}


def rank(size):
    return len(size) - 1


def between(*middle, size):
    """A convolution, what stands between, a convolution, the mean of the pixels, two outputs."""

    def build():
        conv = CONVS[rank(size)][0]
        pixels = getattr(K, f"GlobalAveragePooling{rank(size)}D")
        model = keras.Sequential(
            [
                keras.Input(size),
                conv(4, 3, padding="same", activation="tanh", name="first"),
                *(make() for make in middle),
                conv(5, 1, name="second"),
                pixels(),
                K.Dense(2, name="head"),
            ]
        )
        model.compile(keras.optimizers.SGD(0.01), "mse")
        return model

    return build


class Between(nn.Module):
    def __init__(self, middle, size):
        super().__init__()
        conv = CONVS[rank(size)][1]
        self.first, self.middle = conv(3, 4, 3, padding=1), middle
        self.second, self.head = conv(4, 5, 1), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.second(self.middle(self.first(x).tanh())).flatten(2).mean(-1))


class Call(nn.Module):
    """A function, of which nothing is known but what it returns."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def divided(pads, kernel, stride):
    """An average of the pixels that exist, padded before it."""

    def pooled(x):
        parts = (F.avg_pool2d(F.pad(a, pads), kernel, stride) for a in (x, torch.ones_like(x)))
        total, ones = parts
        return total / ones

    return Call(pooled)


def pool(kind, kernel, strides, dimensions):
    return lambda: getattr(K, f"{kind}Pooling{dimensions}D")(kernel, strides, padding="same")


AVERAGE, STRIDE, SIZE = "average-pool-same", "same-padding-stride", "same-padding-size"
CORNERS, SMOOTHED = "align-corners", "resize-antialias"
INFINITE = {"value": -torch.inf}


def enlarged(**options):
    return Call(lambda x: F.interpolate(x, **options))


BETWEEN = {
    "average 1D": (
        [pool("Average", 3, 1, 1)],
        nn.AvgPool1d(3, 1, 1),
        nn.AvgPool1d(3, 1, 1, count_include_pad=False),
        (AVERAGE,),
        SIZES[1],
    ),
    "average 2D": (
        [pool("Average", (3, 5), 1, 2)],
        nn.AvgPool2d((3, 5), 1, (1, 2)),
        nn.AvgPool2d((3, 5), 1, (1, 2), count_include_pad=False),
        (AVERAGE,),
        SIZES[2],
    ),
    "average 3D": (
        [pool("Average", 3, 1, 3)],
        nn.AvgPool3d(3, 1, 1),
        nn.AvgPool3d(3, 1, 1, count_include_pad=False),
        (AVERAGE,),
        SIZES[3],
    ),
    "a function": (
        [pool("Average", 3, 1, 2)],
        Call(lambda x: F.avg_pool2d(x, 3, 1, 1)),
        Call(lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
        (AVERAGE,),
        SIZES[2],
    ),
    "padded at the end, and counted": (
        [pool("Average", 3, 2, 2)],
        Call(lambda x: F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        (AVERAGE,),
        (6, 6, 3),
    ),
    "padded alike, and counted": (
        [pool("Average", 3, 2, 2)],
        nn.AvgPool2d(3, 2, 1),
        divided((0, 1, 0, 1), 3, 2),
        (AVERAGE, STRIDE),
        (6, 6, 3),
    ),
    "padded alike": (
        [pool("Average", 3, 2, 2)],
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        divided((0, 1, 0, 1), 3, 2),
        (STRIDE,),
        (6, 6, 3),
    ),
    "maximum, padded alike": (
        [pool("Max", 3, 2, 2)],
        nn.MaxPool2d(3, 2, 1),
        Call(lambda x: F.max_pool2d(F.pad(x, (0, 1, 0, 1), **INFINITE), 3, 2)),
        (STRIDE,),
        (6, 6, 3),
    ),
    "maximum 1D, an even kernel": (
        [pool("Max", 4, 2, 1)],
        nn.MaxPool1d(4, 2, 2),
        Call(lambda x: F.max_pool1d(F.pad(x, (1, 1), **INFINITE), 4, 2)),
        (STRIDE,),
        (8, 3),
    ),
    "maximum, one too large": (
        [pool("Max", 2, 1, 2)],
        nn.MaxPool2d(2, 1, 1),
        Call(lambda x: F.max_pool2d(F.pad(x, (0, 1, 0, 1), **INFINITE), 2, 1)),
        (SIZE,),
        SIZES[2],
    ),
    "behind a ReLU and before a dropout": (
        [K.ReLU, pool("Average", 3, 1, 2), lambda: K.Dropout(0.5)],
        nn.Sequential(nn.ReLU(), nn.AvgPool2d(3, 1, 1), nn.Dropout(0.5)),
        nn.Sequential(nn.ReLU(), nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.Dropout(0.5)),
        (AVERAGE,),
        SIZES[2],
    ),
    "enlarged": (
        [lambda: K.UpSampling2D((2, 4), interpolation="bilinear")],
        nn.Upsample(scale_factor=(2, 4), mode="bilinear", align_corners=True),
        nn.Upsample(scale_factor=(2, 4), mode="bilinear"),
        (CORNERS,),
        SIZES[2],
    ),
    "enlarged by a function": (
        [lambda: K.Resizing(14, 12)],
        enlarged(size=(14, 12), mode="bilinear", align_corners=True),
        enlarged(size=(14, 12), mode="bilinear"),
        (CORNERS,),
        SIZES[2],
    ),
    "shrunk": (
        [lambda: K.Resizing(3, 4)],
        enlarged(size=(3, 4), mode="bilinear", align_corners=True),
        enlarged(size=(3, 4), mode="bilinear"),
        (CORNERS,),
        (9, 8, 3),
    ),
    "shrunk and smoothed": (
        [lambda: K.Resizing(2, 3)],
        enlarged(size=(2, 3), mode="bilinear", antialias=True),
        enlarged(size=(2, 3), mode="bilinear"),
        (SMOOTHED,),
        (9, 8, 3),
    ),
}
"""Name → what stands between in Keras, in Torch by convention, and by its remedy; the names; the
size of a sample."""


# TensorFlow has no average over three axes in float64 on a CPU.
IN_DTYPES = [
    (name, d) for name in BETWEEN for d in DTYPES if (name, d) != ("average 3D", "float64")
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("name", "dtype"), IN_DTYPES)
def test_what_stands_between_two_layers(name, dtype):
    middle, wrong, right, names, size = BETWEEN[name]
    ports = {"wrong": wrong, "both": nn.Sequential(wrong, Also()), "right": right}
    told = {
        port: explained(between(*middle, size=size), lambda m=m: Between(m, size), size, dtype)
        for port, m in ports.items()
    }
    assert told == {"wrong": names, "both": (), "right": None}


def test_what_keras_rounds_while_it_enlarges_is_not_called_smoothing():
    model = between(lambda: K.UpSampling2D((2, 3), interpolation="bilinear"), size=SIZES[2])
    right = enlarged(scale_factor=(2, 3), mode="bilinear")
    assert not explained(model, lambda: Between(right, SIZES[2]), SIZES[2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("middle", "size", "to"),
    [
        (lambda: K.UpSampling2D(3, interpolation="bilinear"), (40, 30, 3), (120, 90)),
        (lambda: K.UpSampling2D((5, 7), interpolation="bilinear"), (10, 9, 3), (50, 63)),
        (lambda: K.Resizing(33, 41), (14, 13, 3), (33, 41)),
        (lambda: K.Resizing(5, 4), (14, 13, 3), (5, 4)),
    ],
)
def test_where_a_pixel_lies_is_rounded_to_float32(middle, size, to, dtype):
    model = between(middle, size=size)
    ports = {
        corners: explained(
            model,
            lambda c=corners: Between(enlarged(size=to, mode="bilinear", align_corners=c), size),
            size,
            dtype,
        )
        for corners in (False, True)
    }
    assert ports == {False: None, True: (CORNERS,)}


@pytest.mark.parametrize(("corners", "names"), [(True, (CORNERS,)), (False, None)])
def test_what_stands_behind_the_last_layer(corners, names):
    def build():
        enlarge = K.UpSampling2D(2, interpolation="bilinear")
        first = K.Conv2D(4, 3, padding="same", activation="tanh", name="first")
        return keras.Sequential([keras.Input((6, 6, 3)), first, enlarge])

    def module():
        enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=corners)
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), enlarge)

    x = np.random.default_rng(0).normal(size=(4, 6, 6, 3))
    report = compare.check_parity(build, module, x, weights_from="keras", dtype="float64")
    found = None if report.passed else report.first_divergence.explained_by
    assert found == names


def one(conv, size):
    """A convolution, the mean of the pixels, two outputs."""

    def build():
        pixels = getattr(K, f"GlobalAveragePooling{rank(size)}D")
        model = keras.Sequential([keras.Input(size), conv(), pixels(), K.Dense(2, name="head")])
        model.compile(keras.optimizers.SGD(0.01), "mse")
        return model

    return build


class One(nn.Module):
    def __init__(self, conv, channels):
        super().__init__()
        self.conv, self.head = conv, nn.Linear(channels, 2)

    def forward(self, x):
        return self.head(self.conv(x).tanh().flatten(2).mean(-1))


class Padded(nn.Module):
    """A convolution behind a padding."""

    def __init__(self, pads, conv):
        super().__init__()
        self.pads, self.conv = pads, conv

    def forward(self, x):
        return self.conv(F.pad(x, self.pads))


class Cropped(nn.Module):
    """A convolution whose last pixels are cut off."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        return self.conv(x)[(..., *(slice(-1) for _ in x.shape[2:]))]


def same(kind, *arguments, **options):
    return lambda: kind(*arguments, padding="same", activation="tanh", name="conv", **options)


TRANSPOSED = "transposed-padding"

OF_A_LAYER = {
    "an even kernel": (
        same(K.Conv2D, 4, 4),
        lambda: nn.Conv2d(3, 4, 4, padding=2),
        lambda: nn.Conv2d(3, 4, 4, padding="same"),
        (SIZE,),
        SIZES[2],
    ),
    "dilated": (
        same(K.Conv2D, 4, 3, dilation_rate=2),
        lambda: nn.Conv2d(3, 4, 3, dilation=2, padding=1),
        lambda: nn.Conv2d(3, 4, 3, dilation=2, padding=2),
        (SIZE,),
        SIZES[2],
    ),
    "dilated 1D": (
        same(K.Conv1D, 4, 3, dilation_rate=3),
        lambda: nn.Conv1d(3, 4, 3, dilation=3, padding=1),
        lambda: nn.Conv1d(3, 4, 3, dilation=3, padding=3),
        (SIZE,),
        SIZES[1],
    ),
    "an even kernel 3D": (
        same(K.Conv3D, 4, 2),
        lambda: nn.Conv3d(3, 4, 2, padding=1),
        lambda: nn.Conv3d(3, 4, 2, padding="same"),
        (SIZE,),
        SIZES[3],
    ),
    "depthwise": (
        same(K.DepthwiseConv2D, 4, depth_multiplier=2),
        lambda: nn.Conv2d(3, 6, 4, padding=2, groups=3),
        lambda: nn.Conv2d(3, 6, 4, padding="same", groups=3),
        (SIZE,),
        SIZES[2],
    ),
    "grouped": (
        same(K.Conv1D, 6, 2, groups=3),
        lambda: nn.Conv1d(3, 6, 2, padding=1, groups=3),
        lambda: nn.Conv1d(3, 6, 2, padding="same", groups=3),
        (SIZE,),
        SIZES[1],
    ),
    "strided": (
        same(K.Conv2D, 4, 3, strides=2),
        lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1),
        lambda: Padded((0, 1, 0, 1), nn.Conv2d(3, 4, 3, stride=2)),
        (STRIDE,),
        (6, 6, 3),
    ),
    "strided, padded before": (
        same(K.Conv2D, 4, 3, strides=2),
        lambda: Padded((1, 1, 1, 1), nn.Conv2d(3, 4, 3, stride=2)),
        lambda: Padded((0, 1, 0, 1), nn.Conv2d(3, 4, 3, stride=2)),
        (STRIDE,),
        (6, 6, 3),
    ),
    "strided 3D": (
        same(K.Conv3D, 4, 2, strides=2),
        lambda: nn.Conv3d(3, 4, 2, stride=2, padding=1),
        lambda: Padded((0, 1) * 3, nn.Conv3d(3, 4, 2, stride=2)),
        (STRIDE,),
        (5, 5, 5, 3),
    ),
    "strided and depthwise": (
        same(K.DepthwiseConv2D, 3, strides=2),
        lambda: nn.Conv2d(3, 3, 3, stride=2, padding=1, groups=3),
        lambda: Padded((0, 1, 0, 1), nn.Conv2d(3, 3, 3, stride=2, groups=3)),
        (STRIDE,),
        (6, 6, 3),
    ),
    "transposed": (
        same(K.Conv2DTranspose, 4, 3, strides=2),
        lambda: nn.ConvTranspose2d(3, 4, 3, 2, padding=1, output_padding=1),
        lambda: Cropped(nn.ConvTranspose2d(3, 4, 3, 2)),
        (TRANSPOSED,),
        SIZES[2],
    ),
    "transposed 1D, a kernel of 5": (
        same(K.Conv1DTranspose, 4, 5, strides=2),
        lambda: nn.ConvTranspose1d(3, 4, 5, 2, padding=2, output_padding=1),
        lambda: Cropped(nn.ConvTranspose1d(3, 4, 5, 2, padding=1)),
        (TRANSPOSED,),
        SIZES[1],
    ),
    "transposed 3D": (
        same(K.Conv3DTranspose, 4, 3, strides=2),
        lambda: nn.ConvTranspose3d(3, 4, 3, 2, padding=1, output_padding=1),
        lambda: Cropped(nn.ConvTranspose3d(3, 4, 3, 2)),
        (TRANSPOSED,),
        (2, 3, 2, 3),
    ),
}
"""Name → the layer in Keras, in Torch by convention, and by its remedy; the names; the size of a
sample."""


def with_another_bug(build):
    """The module, whose convolution returns a little more."""

    def made():
        module = build()
        scaled(module.conv if isinstance(module, Padded) else module)
        return module

    return made


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, "float64") for name in OF_A_LAYER]
    + [(name, "float32") for name in ("dilated", "strided", "transposed")],
)
def test_how_a_convolution_pads(name, dtype):
    conv, wrong, right, names, size = OF_A_LAYER[name]
    ports = {"wrong": wrong, "both": with_another_bug(wrong), "right": right}
    channels = {"depthwise": 6, "grouped": 6, "strided and depthwise": 3}.get(name, 4)
    told = {
        port: explained(one(conv, size), lambda make=make: One(make(), channels), size, dtype)
        for port, make in ports.items()
    }
    assert told == {"wrong": names, "both": (), "right": None}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_separable_convolution_pads_in_its_first_part(dtype):
    def build(padding, *, bug=False):
        def made():
            depthwise = nn.Conv2d(3, 3, 4, padding=padding, groups=3, bias=False)
            pointwise = nn.Conv2d(3, 4, 1)
            return One(nn.Sequential(depthwise, scaled(pointwise) if bug else pointwise), 4)

        return made

    ports = {"wrong": build(2), "both": build(2, bug=True), "right": build("same")}
    model = one(same(K.SeparableConv2D, 4, 4), SIZES[2])
    told = {port: explained(model, make, SIZES[2], dtype) for port, make in ports.items()}
    assert told == {"wrong": (SIZE,), "both": (), "right": None}


@pytest.mark.parametrize(
    "conv",
    [
        lambda: nn.Conv2d(3, 4, 3, padding=1, dilation=2, padding_mode="reflect"),
        lambda: nn.Conv2d(3, 4, 3, padding=1),
        lambda: nn.Conv2d(3, 4, 3, padding=1, dilation=2, stride=2),
        lambda: nn.Conv2d(3, 4, 3, dilation=2),
        lambda: Padded((4, 0, 4, 0), nn.Conv2d(3, 4, 3, dilation=2)),
    ],
    ids=["reflected", "not dilated", "strided", "not padded", "padded at the beginning"],
)
def test_another_mistake_than_the_padding_has_no_name(conv):
    model = one(same(K.Conv2D, 4, 3, dilation_rate=2), SIZES[2])
    assert explained(model, lambda: One(conv(), 4), SIZES[2]) == ()


class Reader(nn.Module):
    def __init__(self, width, scale=1.0):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.head, self.scale = nn.Linear(width, 2), scale

    def forward(self, x):
        x = self.attention(self.scale * x, x, x, need_weights=False)[0]
        return self.head(x.mean(1))


def attention(key_dim, **options):
    def build():
        x = keras.Input((3, 6))
        layer = K.MultiHeadAttention(2, key_dim, name="attention", **options)
        seen = keras.ops.mean(layer(x, x), axis=1)
        model = keras.Model(x, K.Dense(2, name="head")(seen))
        model.compile(keras.optimizers.SGD(0.01), "mse")
        return model

    return build


def test_a_resize_behind_the_last_layer_passes_at_any_size():
    def model():
        resize = K.UpSampling2D(3, interpolation="bilinear")
        return keras.Sequential([keras.Input((65, 65, 2)), K.Conv2D(2, 1, name="only"), resize])

    report = compare.check_parity(
        model,
        lambda: nn.Sequential(nn.Conv2d(2, 2, 1), nn.Upsample(scale_factor=3, mode="bilinear")),
        np.random.default_rng(0).normal(size=(2, 65, 65, 2)),
        weights_from="keras",
        dtype="float64",
    )
    report.raise_if_diverged()


class Sharp(nn.MultiheadAttention):
    """Whose scores are not divided by what they should be."""

    def forward(self, query, key, value, **options):
        return super().forward(2.0 * query, key, value, **options)


class Added(Reader):
    """A layer more."""

    def __init__(self):
        super().__init__(6)
        self.more = nn.Linear(2, 2)

    def forward(self, x):
        return self.more(super().forward(x))


def sharp():
    module = Reader(6)
    module.attention = Sharp(6, 2, batch_first=True)
    return module


def batch_for_time():
    module = Reader(6)
    module.attention = nn.MultiheadAttention(6, 2)
    return module


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("model", "module", "names"),
    [
        (attention(6), lambda: Reader(6), ("attention-key-dim",)),
        (attention(6), sharp, ()),
        (attention(6), batch_for_time, ()),
        (attention(6), Added, ()),
        (attention(6, value_dim=4), lambda: Reader(6), ()),
    ],
)
def test_the_size_of_heads(model, module, names, dtype):
    assert explained(model, module, (3, 6), dtype, weights_from=None) == names


def test_heads_of_the_right_size_pass():
    # A quarter's root is exact in float32.
    size = (3, 8)

    def build():
        x = keras.Input(size)
        seen = K.MultiHeadAttention(2, 4, name="attention")(x, x)
        model = keras.Model(x, K.Dense(2, name="head")(keras.ops.mean(seen, axis=1)))
        model.compile(keras.optimizers.SGD(0.01), "mse")
        return model

    assert explained(build, lambda: Reader(8), size) is None


class Skipping(nn.Module):
    """An enlarged image beside the one that it was made of."""

    def __init__(self, corners, *, swapped=False):
        super().__init__()
        self.first, self.small = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
        self.last, self.corners, self.swapped = nn.Conv2d(9, 2, 3, padding=1), corners, swapped

    def forward(self, x):
        skip = self.first(x).relu()
        small = self.small(F.max_pool2d(skip, 2)).relu()
        large = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=self.corners)
        joined = [skip, large] if self.swapped else [large, skip]
        return self.last(torch.cat(joined, 1)).mean((2, 3))


def skipping():
    x = keras.Input((6, 6, 3))
    skip = K.Conv2D(4, 3, padding="same", activation="relu", name="first")(x)
    small = K.Conv2D(5, 3, padding="same", activation="relu", name="small")(K.MaxPooling2D()(skip))
    joined = K.Concatenate()([K.UpSampling2D(2, interpolation="bilinear")(small), skip])
    last = K.Conv2D(2, 3, padding="same", name="last")(joined)
    model = keras.Model(x, K.GlobalAveragePooling2D()(last))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


@pytest.mark.parametrize(
    ("corners", "swapped", "names"),
    [(False, False, None), (True, False, (CORNERS,)), (False, True, ()), (True, True, ())],
)
def test_an_image_that_is_joined_with_another(corners, swapped, names):
    port = partial(Skipping, corners, swapped=swapped)
    assert explained(skipping, port, (6, 6, 3)) == names
