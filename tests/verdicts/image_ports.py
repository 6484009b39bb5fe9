"""Ports of small image networks: resizing, pooling, norms, axes, frozen and shared parts."""

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

from bn_torch import BiasedBatchNorm
from verdicts.optimizers import K, trained
from verdicts.port import Fault, Original, Port, fault
from verdicts.training_ports import BOTH

OBJECTIVE = {
    "torch_loss": F.mse_loss,
    "torch_optimizer": lambda p: optim.SGD(trained(p), lr=0.05),
}


def image_ports() -> Iterator[Port]:
    """Every one."""
    for ports in (_resized, _joined, _pooled, _padded, _normalized, _batch_normalized):
        yield from ports()
    for ports in (_permuted, _frozen, _shared):
        yield from ports()


def images(rng: np.random.Generator) -> tuple[Any, Any]:
    """Six images of 8 × 8 and three channels, and two numbers each."""
    return rng.normal(size=(6, 8, 8, 3)), rng.normal(size=(6, 2))


def between(name: str, *middle: Callable[[], Any], filters: int = 4) -> Original:
    """A convolution, what stands between, a convolution, the mean over the image, a dense layer."""

    def build() -> keras.Model:
        model = keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.Conv2D(filters, 3, padding="same", activation="tanh", name="first"),
                *(layer() for layer in middle),
                layers.Conv2D(5, 3, padding="same", activation="tanh", name="second"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(2, name="head"),
            ]
        )
        model.compile(K.SGD(0.05), "mse")
        return model

    return Original(name, build, images)


class Between(nn.Module):
    """Its port."""

    def __init__(self, middle: Any, filters: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, filters, 3, padding=1)
        self.second = nn.Conv2d(filters, 5, 3, padding=1)
        self.head = nn.Linear(5, 2)
        self.middle = middle

    def forward(self, x: torch.Tensor) -> Any:
        x = self.middle(self.first(x).tanh())
        return self.head(self.second(x).tanh().mean((2, 3)))


SPAN = "between first and second"


def _ports(
    original: Original,
    right: dict[str, Callable[[], Any]],
    wrong: dict[str, tuple[Callable[[], Any], Fault]],
) -> Iterator[Port]:
    """Ports that differ in what stands between the convolutions."""
    for name, middle in right.items():
        for dtype in BOTH:
            yield Port(name, original, partial(_between, middle), objective=OBJECTIVE, dtype=dtype)
    for name, (middle, told) in wrong.items():
        yield Port(name, original, partial(_between, middle), told, OBJECTIVE)


def _between(middle: Callable[[], Any]) -> nn.Module:
    return Between(middle())


def _resized() -> Iterator[Port]:
    bilinear = partial(layers.UpSampling2D, 2, interpolation="bilinear")
    told = fault(SPAN)
    yield from _ports(
        between("bilinear", bilinear),
        {"bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear")},
        {
            "align_corners": (
                lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                fault(SPAN, cause="align-corners"),
            ),
            "nearest": (lambda: nn.Upsample(scale_factor=2), told),
            "bicubic": (lambda: nn.Upsample(scale_factor=2, mode="bicubic"), told),
        },
    )
    yield from _ports(
        between("nearest", partial(layers.UpSampling2D, 2)),
        {"nearest": lambda: nn.Upsample(scale_factor=2)},
        {"bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), told)},
    )


class Joined(nn.Module):
    """A convolution of a smaller image, enlarged and joined with what was there before."""

    def __init__(self, *, before: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.third, self.head, self.before = nn.Conv2d(8, 5, 3, padding=1), nn.Linear(5, 2), before

    def forward(self, x: torch.Tensor) -> Any:
        skipped = self.first(x).tanh()
        small = self.second(F.max_pool2d(skipped, 2)).tanh()
        large = F.interpolate(small, scale_factor=2)
        x = torch.cat([skipped, large] if self.before else [large, skipped], 1)
        return self.head(self.third(x).tanh().mean((2, 3)))


def _joined() -> Iterator[Port]:
    def build() -> keras.Model:
        def conv(filters: int, name: str) -> Any:
            return layers.Conv2D(filters, 3, padding="same", activation="tanh", name=name)

        x = keras.Input((8, 8, 3))
        skipped = conv(4, "first")(x)
        small = conv(4, "second")(layers.MaxPooling2D()(skipped))
        joined = layers.Concatenate()([layers.UpSampling2D()(small), skipped])
        pooled = layers.GlobalAveragePooling2D()(conv(5, "third")(joined))
        model = keras.Model(x, layers.Dense(2, name="head")(pooled))
        model.compile(K.SGD(0.05), "mse")
        return model

    original = Original("joined", build, images)
    for dtype in BOTH:
        yield Port("enlarged first", original, Joined, objective=OBJECTIVE, dtype=dtype)
    told = fault("between second and third")
    yield Port("skipped first", original, partial(Joined, before=True), told, OBJECTIVE)


class PadEnd(nn.Module):
    """One more row and column at the end."""

    def __init__(self, value: float, pool: nn.Module) -> None:
        super().__init__()
        self.value, self.pool = value, pool

    def forward(self, x: torch.Tensor) -> Any:
        return self.pool(F.pad(x, (0, 1, 0, 1), value=self.value))


def _pooled() -> Iterator[Port]:
    average = partial(layers.AveragePooling2D, 3, strides=1, padding="same")
    padding = fault(SPAN, cause="average-pool-same")
    yield from _ports(
        between("average pool", average),
        {"padding not counted": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False)},
        {
            "padding counted": (lambda: nn.AvgPool2d(3, 1, 1), padding),
            "maximum": (lambda: nn.MaxPool2d(3, 1, 1), fault(SPAN)),
        },
    )
    begins = fault(SPAN, cause="same-padding-stride")
    yield from _ports(
        between("max pool, strided", partial(layers.MaxPooling2D, 3, strides=2, padding="same")),
        {"padded at the end": lambda: PadEnd(-torch.inf, nn.MaxPool2d(3, 2))},
        {
            "padded alike": (lambda: nn.MaxPool2d(3, 2, 1), begins),
            "a kernel of 2": (lambda: nn.MaxPool2d(2), fault(SPAN)),
            "average": (lambda: nn.AvgPool2d(3, 2, 1), fault(SPAN)),
        },
    )


def _padded() -> Iterator[Port]:
    """Even kernels and dilation: TensorFlow pads the odd pixel at the end."""

    class Padded(nn.Module):
        def __init__(self, padding: tuple[int, ...], dilation: int, kernel: int) -> None:
            super().__init__()
            self.padding = padding
            self.conv = nn.Conv2d(3, 4, kernel, dilation=dilation)
            self.head = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> Any:
            return self.head(self.conv(F.pad(x, self.padding)).tanh().mean((2, 3)))

    for name, kernel, dilation, right, wrong in (
        ("even kernel", 4, 1, (1, 2, 1, 2), (2, 1, 2, 1)),
        ("dilated", 3, 2, (2, 2, 2, 2), (4, 0, 4, 0)),
        ("even and dilated", 2, 3, (1, 2, 1, 2), (2, 1, 2, 1)),
    ):

        def build(kernel: int = kernel, dilation: int = dilation) -> keras.Model:
            model = keras.Sequential(
                [
                    keras.Input((8, 8, 3)),
                    layers.Conv2D(
                        4, kernel, dilation_rate=dilation, padding="same", activation="tanh",
                        name="conv",
                    ),
                    layers.GlobalAveragePooling2D(),
                    layers.Dense(2, name="head"),
                ]
            )  # fmt: skip
            model.compile(K.SGD(0.05), "mse")
            return model

        original = Original(f"same, {name}", build, images)
        for dtype in BOTH:
            module = partial(Padded, right, dilation, kernel)
            yield Port("padded as in Keras", original, module, objective=OBJECTIVE, dtype=dtype)
        module = partial(Padded, wrong, dilation, kernel)
        told = fault("conv", "between the input and conv")
        yield Port("padded more before", original, module, told, OBJECTIVE)


class Channels(nn.LayerNorm):
    """Normalizes over the channels, and permutes inside."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Outside(nn.Module):
    """Permutes around the norm."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _normalized() -> Iterator[Port]:
    norm = partial(layers.LayerNormalization, name="norm")
    epsilon = fault("norm", cause="norm-epsilon")
    yield from _ports(
        between("layer norm", norm),
        {
            "LayerNorm2d, which permutes inside": lambda: Channels(4, eps=1e-3),
            "permuted outside": lambda: Outside(nn.LayerNorm(4, eps=1e-3)),
        },
        {
            "Torch's epsilon": (lambda: Channels(4), epsilon),
            "Torch's epsilon, permuted outside": (lambda: Outside(nn.LayerNorm(4)), epsilon),
        },
    )
    yield Port(
        "GroupNorm(1)",
        between("layer norm", norm),
        partial(_between, partial(nn.GroupNorm, 1, 4, eps=1e-3)),
        fault("norm"),
        OBJECTIVE,
        right=partial(_between, partial(Channels, 4, eps=1e-3)),
    )
    yield from _ports(
        between("group norm", partial(layers.GroupNormalization, groups=2, name="norm")),
        {"two groups": lambda: nn.GroupNorm(2, 4, eps=1e-3)},
        {
            "four groups": (lambda: nn.GroupNorm(4, 4, eps=1e-3), fault("norm")),
            "Torch's epsilon": (lambda: nn.GroupNorm(2, 4), epsilon),
        },
    )
    yield from _ports(
        between("gelu", partial(layers.Activation, "gelu")),
        {"erf": nn.GELU},
        {"tanh": (lambda: nn.GELU(approximate="tanh"), fault(SPAN))},
    )
    slope = fault(SPAN, cause="leaky-relu-slope")
    yield from _ports(
        between("leaky relu", partial(layers.LeakyReLU, negative_slope=0.3)),
        {"slope 0.3": lambda: nn.LeakyReLU(0.3)},
        {"Torch's slope": (nn.LeakyReLU, slope)},
    )


class Permuted(nn.Module):
    """A convolution over images that are permuted, viewed or left as they are, then flattened."""

    def __init__(self, flatten: str = "last", arrange: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 5, 3), nn.Linear(45, 2)
        self.flatten, self.arrange = flatten, arrange

    def forward(self, x: torch.Tensor) -> Any:
        if self.arrange is not None:
            x = self.arrange(x)
        x = F.max_pool2d(self.conv(x).relu(), 2)
        return self.head((x.permute(0, 2, 3, 1) if self.flatten == "last" else x).flatten(1))


def _permuted() -> Iterator[Port]:
    def build() -> keras.Model:
        model = keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.Rescaling(1.0 / 4.0, offset=-0.5),
                layers.Conv2D(5, 3, activation="relu", name="conv"),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(2, name="head"),
            ]
        )
        model.compile(K.SGD(0.05), "mse")
        return model

    def scaled(x: torch.Tensor) -> torch.Tensor:
        return x / 4.0 - 0.5

    original = Original("flattened", build, images)
    for dtype in BOTH:
        for name, flatten in (("permuted, then flattened", "last"), ("channels first", "first")):
            module = partial(Permuted, flatten, scaled)
            yield Port(name, original, module, objective=OBJECTIVE, dtype=dtype)
    before, after = "between the input and conv", "between conv and head"
    told = fault(before)
    for name, arrange in (
        ("not scaled", None),
        ("no offset", lambda x: x / 4.0),
        ("height for width", lambda x: scaled(x).transpose(2, 3)),
        ("channels reversed", lambda x: scaled(x).flip(1)),
    ):
        yield Port(name, original, partial(Permuted, "last", arrange), told, OBJECTIVE)
    order = fault(after, cause="flatten-order")
    yield Port(
        "channels first, weights as in Keras", original, partial(Permuted, "first", scaled),
        order, OBJECTIVE, right=partial(Permuted, "last", scaled),
    )  # fmt: skip
    transposed = Port(
        "kernel 3 × 3 not turned", original, partial(Permuted, "last", scaled),
        fault("conv", cause=None, also=["kernel-layout"]), OBJECTIVE,
        right=partial(Permuted, "last", scaled), spoil=_turned,
    )  # fmt: skip
    yield transposed


def _turned(module: nn.Module) -> None:
    with torch.no_grad():
        module.conv.weight.copy_(module.conv.weight.detach().clone().transpose(2, 3))


def _batch_normalized() -> Iterator[Port]:
    original = between("batch norm", partial(layers.BatchNormalization, name="norm"))
    biased = partial(BiasedBatchNorm, 4, eps=1e-3, momentum=1.0 - 0.99)
    stock = partial(nn.BatchNorm2d, 4, eps=1e-3, momentum=1.0 - 0.99)
    for dtype in BOTH:
        module = partial(_between, biased)
        yield Port("biased", original, module, objective=OBJECTIVE, dtype=dtype)
        module = partial(_between, stock)
        yield Port(
            "stock, allowed", original, module, objective=OBJECTIVE, dtype=dtype,
            allow=("bn-biased-variance",),
        )  # fmt: skip
    variance, momentum = "bn-biased-variance", "bn-momentum"
    for name, norm, told in (
        ("stock", stock, fault("norm", cause=variance)),
        ("all defaults", partial(nn.BatchNorm2d, 4), fault("norm", cause="bn-epsilon")),
        (
            "stock, default momentum",
            partial(nn.BatchNorm2d, 4, eps=1e-3),
            fault("norm", cause=momentum, also=[variance]),
        ),
        (
            "stock, momentum copied",
            partial(nn.BatchNorm2d, 4, eps=1e-3, momentum=0.99),
            fault("norm", cause="bn-momentum-copied", also=[variance]),
        ),
        (
            "an average of all batches",
            partial(nn.BatchNorm2d, 4, eps=1e-3, momentum=None),
            fault("norm", also=[momentum, variance]),
        ),
        ("instance norm", partial(nn.InstanceNorm2d, 4, eps=1e-3), fault("norm")),
        (
            "no running statistics",
            partial(nn.BatchNorm2d, 4, eps=1e-3, track_running_stats=False),
            fault("norm"),
        ),
    ):
        right = {"right": partial(_between, biased)}
        yield Port(name, original, partial(_between, norm), told, OBJECTIVE, **right)
    # With the unbiased variance accepted, what remains must still show.
    for name, norm, told in (
        ("allowed, default momentum", partial(nn.BatchNorm2d, 4, eps=1e-3), momentum),
        ("allowed, epsilon 1e-5", partial(nn.BatchNorm2d, 4, momentum=1 - 0.99), "bn-epsilon"),
    ):
        yield Port(
            name, original, partial(_between, norm), fault("norm", cause=told), OBJECTIVE,
            right=partial(_between, biased), allow=(variance,),
        )  # fmt: skip


class Frozen(nn.Module):
    """A base that is frozen in one way or another, and a head that is trained."""

    def __init__(self, *, trained: bool = False, evaluated: bool = True) -> None:
        super().__init__()
        norm = BiasedBatchNorm(4, eps=1e-3, momentum=1.0 - 0.99)
        self.base = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), norm)
        self.head = nn.Linear(4, 2)
        self.base.requires_grad_(trained)
        self.base.train(not evaluated)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.base(x).mean((2, 3)))


def _frozen() -> Iterator[Port]:
    def build() -> keras.Model:
        conv = layers.Conv2D(4, 3, activation="relu", name="conv")
        norm = layers.BatchNormalization(name="norm")
        conv.trainable = norm.trainable = False
        pool = layers.GlobalAveragePooling2D()
        head = layers.Dense(2, name="head")
        model = keras.Sequential([keras.Input((8, 8, 3)), conv, norm, pool, head])
        model.compile(K.SGD(0.05), "mse")
        return model

    original = Original("frozen", build, images)
    for dtype in BOTH:
        yield Port("in eval(), not trained", original, Frozen, objective=OBJECTIVE, dtype=dtype)
    moves = fault("norm", cause="bn-frozen")
    yield Port("not trained", original, partial(Frozen, evaluated=False), moves, OBJECTIVE)
    trained = fault("conv", "norm", also=["bn-frozen"])
    yield Port("in eval()", original, partial(Frozen, trained=True), trained, OBJECTIVE)
    thawed = partial(Frozen, trained=True, evaluated=False)
    yield Port("not frozen", original, thawed, trained, OBJECTIVE)


class Shared(nn.Module):
    """A layer that runs twice, or two layers that run once each."""

    def __init__(self, *, twice: bool = True) -> None:
        super().__init__()
        self.shared = nn.Linear(6, 6)
        self.again = self.shared if twice else nn.Linear(6, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.again(self.shared(x).tanh()).tanh())


def _shared() -> Iterator[Port]:
    def build() -> keras.Model:
        shared = layers.Dense(6, activation="tanh", name="shared")
        x = keras.Input((6,))
        model = keras.Model(x, layers.Dense(2, name="head")(shared(shared(x))))
        model.compile(K.SGD(0.05), "mse")
        return model

    def inputs(rng: np.random.Generator) -> tuple[Any, Any]:
        return rng.normal(size=(8, 6)), rng.normal(size=(8, 2))

    original = Original("shared layer", build, inputs)
    for dtype in BOTH:
        yield Port("one layer, twice", original, Shared, objective=OBJECTIVE, dtype=dtype)
    told = fault("shared", "shared#2", "again")
    separate = partial(Shared, twice=False)
    yield Port("two layers", original, separate, told, OBJECTIVE, right=Shared)
