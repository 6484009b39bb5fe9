"""Wrong ports, one of each convention that a check of two models can find."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
from keras import layers as K
from torch import nn, optim
from torch.nn import functional as F


@dataclass(frozen=True)
class Wrong:
    """A Keras model, and how a port is built; `module` takes what the remedy says as keywords."""

    model: Callable[[], Any]
    module: Callable[..., nn.Module]
    x: Any = None
    y: Any = None
    loss: Callable[..., Any] = F.mse_loss
    optimizer: Callable[..., Any] = lambda p: optim.SGD(p, lr=0.125)
    options: dict[str, Any] = field(default_factory=dict)

    def arguments(self, **replaced):
        """What `compare.check_parity` takes."""
        x = RNG(0).normal(size=(8, 5)) if self.x is None else self.x
        y = RNG(1).normal(size=(8, 2)) if self.y is None else self.y
        made = {"module": self.module, "loss": self.loss, "optimizer": self.optimizer, **replaced}
        objective = {"torch_loss": made["loss"], "torch_optimizer": made["optimizer"]}
        models = self.model(), made["module"]().double()
        return (*models, x, y), {**objective, "weights_from": "keras", **self.options}


RNG = np.random.default_rng
IMAGES = RNG(2).normal(size=(4, 6, 6, 3))
IMAGE_TARGETS = RNG(3).normal(size=(4, 2))
CLASSES = np.arange(8) % 3
HOT = np.eye(3)[CLASSES]


def sgd():
    return keras.optimizers.SGD(0.125)


def compiled(*parts, size=(5,), optimizer=sgd, loss="mse", dtype=None):
    model = keras.Sequential([keras.Input(size, dtype=dtype), *parts])
    model.compile(optimizer(), loss)
    return model


def mlp(middle=(), outputs=2, **last):
    """Five features, four units, `middle`, outputs."""
    return lambda: compiled(
        K.Dense(4, name="a"), *(make() for make in middle), K.Dense(outputs, name="b", **last)
    )


def port(*middle, outputs=2):
    return nn.Sequential(nn.Linear(5, 4), *middle, nn.Linear(4, outputs))


class AlwaysDropped(nn.Module):
    """Dropout in evaluation too."""

    def forward(self, x):
        return F.dropout(x, 0.5)


def normed(**options):
    return mlp([lambda: K.BatchNormalization(name="norm", **options)])


def stock(**options):
    """Keras' numbers, but for those given."""
    return port(nn.BatchNorm1d(4, **{"eps": 1e-3, "momentum": 1.0 - 0.99, **options}))


def biased(**options):
    from bn_torch import BiasedBatchNorm

    return port(BiasedBatchNorm(4, **{"eps": 1e-3, "momentum": 1.0 - 0.99, **options}))


def without_scale():
    module = biased()
    module[1].weight = None
    return module


def frozen():
    module = biased()
    module[1].requires_grad_(False)
    return module


class Images(nn.Module):
    """A convolution, something, the mean of the pixels, two outputs."""

    def __init__(self, conv, behind=None, before=None):
        super().__init__()
        self.conv, self.head = conv, nn.Linear(4, 2)
        self.before, self.behind = before or nn.Identity(), behind or nn.Identity()

    def forward(self, x):
        return self.head(self.behind(self.conv(self.before(x))).mean((2, 3)))


class Smoothed(nn.Module):
    """An image of two by two pixels, each an average."""

    def forward(self, x):
        return F.interpolate(x, size=(2, 2), mode="bilinear", antialias=True)


def images(*parts, size=(6, 6, 3)):
    return lambda: compiled(
        *(make() for make in parts), K.GlobalAveragePooling2D(), K.Dense(2, name="head"), size=size
    )


def conv(**options):
    return lambda: K.Conv2D(4, 3, name="conv", **options)


def tokens(rnn, **options):
    return lambda: compiled(
        K.Embedding(5, 3, name="tokens", **options),
        rnn(),
        K.Dense(2, name="head"),
        size=(4,),
        dtype="int32",
    )


TOKENS = np.array([[1, 2, 3, 1], [2, 1, 1, 0], [3, 4, 0, 0], [4, 0, 0, 0]] * 2)


class Reader(nn.Module):
    """Tokens, a recurrent layer, two outputs."""

    def __init__(self, two_biases=False, **options):
        super().__init__()
        self.tokens = nn.Embedding(5, 3, **options)
        self.rnn = nn.LSTM(3, 4, batch_first=True)
        if not two_biases:
            self.rnn.bias_hh_l0.requires_grad_(False).zero_()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.rnn(self.tokens(x))[1][0][-1])


class LastStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True, bidirectional=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def attention():
    x = keras.Input((3, 4))
    seen = K.MultiHeadAttention(2, 4, name="attention")(x, x)
    model = keras.Model(x, K.Dense(2, name="head")(keras.ops.mean(seen, axis=1)))
    model.compile(sgd(), "mse")
    return model


def classifier(loss, outputs=3, **last):
    return lambda: compiled(
        K.Dense(4, name="a"),
        K.Dense(outputs, name="b", **last),
        loss=loss() if callable(loss) else loss,
    )


def weighted(y_true, y_pred):
    each = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
    weights = keras.ops.convert_to_tensor(np.array([1.0, 5.0, 0.5]), dtype=y_pred.dtype)
    return each * keras.ops.take(weights, keras.ops.cast(y_true, "int32"))


L = keras.losses

WRONG: dict[str, Wrong] = {
    "bn-momentum": Wrong(normed(momentum=0.999), lambda **o: biased(**{"momentum": 0.1, **o})),
    "bn-momentum-copied": Wrong(
        normed(momentum=0.75), lambda **o: biased(**{"momentum": 0.75, **o})
    ),
    "bn-epsilon": Wrong(normed(epsilon=1.001e-5), lambda **o: biased(**{"eps": 1e-3, **o})),
    "bn-biased-variance": Wrong(normed(), stock),
    # What one side alone has cannot be carried over.
    "bn-affine": Wrong(normed(center=False, scale=False), biased, options={"weights_from": None}),
    "bn-center-only": Wrong(normed(scale=False), biased, options={"weights_from": None}),
    "bn-frozen": Wrong(normed(trainable=False), frozen),
    "norm-epsilon": Wrong(
        mlp([lambda: K.LayerNormalization(epsilon=2e-3, name="norm")]),
        lambda **o: port(nn.LayerNorm(4, **o)),
    ),
    "leaky-relu-slope": Wrong(
        mlp([lambda: K.LeakyReLU(0.25)]), lambda slope=None: port(slope or nn.LeakyReLU())
    ),
    "hard-sigmoid": Wrong(
        mlp([lambda: K.Activation("hard_sigmoid")]),
        lambda: port(
            type("Old", (nn.Module,), {"forward": lambda s, x: (0.2 * x + 0.5).clamp(0, 1)})()
        ),
    ),
    "same-padding-stride": Wrong(
        images(conv(strides=2, padding="same")),
        lambda before=None, padding=1: Images(
            nn.Conv2d(3, 4, 3, stride=2, padding=padding), before=before
        ),
        IMAGES,
        IMAGE_TARGETS,
    ),
    "same-padding-size": Wrong(
        images(conv(dilation_rate=2, padding="same")),
        lambda padding=1: Images(nn.Conv2d(3, 4, 3, dilation=2, padding=padding)),
        IMAGES,
        IMAGE_TARGETS,
    ),
    "transposed-padding": Wrong(
        images(lambda: K.Conv2DTranspose(4, 3, strides=2, padding="same", name="conv")),
        lambda behind=None, padding=1, output_padding=1: Images(
            nn.ConvTranspose2d(3, 4, 3, 2, padding=padding, output_padding=output_padding), behind
        ),
        IMAGES,
        IMAGE_TARGETS,
    ),
    "average-pool-same": Wrong(
        images(
            conv(), lambda: K.AveragePooling2D(3, strides=1, padding="same"), lambda: K.Conv2D(4, 1)
        ),
        lambda **o: Images(
            nn.Conv2d(3, 4, 3),
            nn.Sequential(nn.AvgPool2d(3, 1, 1, **o), nn.Conv2d(4, 4, 1)),
        ),
        IMAGES,
        IMAGE_TARGETS,
    ),
    "align-corners": Wrong(
        images(conv(), lambda: K.UpSampling2D(2, interpolation="bilinear"), lambda: K.Conv2D(4, 1)),
        lambda: Images(
            nn.Conv2d(3, 4, 3),
            nn.Sequential(nn.UpsamplingBilinear2d(scale_factor=2), nn.Conv2d(4, 4, 1)),
        ),
        IMAGES,
        IMAGE_TARGETS,
    ),
    "resize-antialias": Wrong(
        images(conv(), lambda: K.Resizing(2, 2), lambda: K.Conv2D(4, 1), size=(8, 8, 3)),
        lambda: Images(nn.Conv2d(3, 4, 3), nn.Sequential(Smoothed(), nn.Conv2d(4, 4, 1))),
        RNG(2).normal(size=(4, 8, 8, 3)),
        IMAGE_TARGETS,
    ),
    "mask-zero": Wrong(
        tokens(lambda: K.LSTM(4, name="rnn"), mask_zero=True),
        Reader,
        TOKENS,
        RNG(1).normal(size=(8, 2)),
    ),
    "padding-idx": Wrong(
        tokens(lambda: K.LSTM(4, name="rnn")), lambda **o: Reader(**{"padding_idx": 0, **o}), TOKENS
    ),
    "lstm-single-bias": Wrong(tokens(lambda: K.LSTM(4, name="rnn")), lambda: Reader(True), TOKENS),
    "bidirectional-last-step": Wrong(
        lambda: compiled(
            K.Bidirectional(K.GRU(4), name="rnn"), K.Dense(2, name="head"), size=(5, 3)
        ),
        LastStep,
        RNG(0).normal(size=(8, 5, 3)),
    ),
    "attention-key-dim": Wrong(
        attention,
        Attention,
        RNG(0).normal(size=(8, 3, 4)),
        # Heads of another size cannot be carried over.
        options={"weights_from": None},
    ),
    "constraint-axis": Wrong(mlp(kernel_constraint=keras.constraints.MaxNorm(0.5)), port),
    "loss-reduction": Wrong(mlp(), port, loss=nn.MSELoss(reduction="sum")),
    "regularizers-in-loss": Wrong(mlp(kernel_regularizer=keras.regularizers.L2(0.125)), port),
    "broadcast-loss": Wrong(
        mlp(outputs=1),
        lambda: port(outputs=1),
        y=RNG(1).normal(size=8),
        loss=lambda o, t: (o - t.reshape(-1)[None]).square().mean(),
    ),
    "class-weights": Wrong(
        classifier(lambda: weighted),
        lambda: port(outputs=3),
        y=CLASSES,
        loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.5], dtype=torch.float64)),
    ),
    "label-smoothing": Wrong(
        classifier(lambda: L.CategoricalCrossentropy(from_logits=True, label_smoothing=0.25)),
        lambda: port(outputs=3),
        y=HOT,
        loss=nn.CrossEntropyLoss(),
    ),
    "nll-probabilities": Wrong(
        classifier("sparse_categorical_crossentropy", activation="softmax"),
        lambda: port(outputs=3),
        y=CLASSES,
        loss=lambda o, t: F.nll_loss(o.softmax(-1), t),
    ),
    "cross-entropy-logits": Wrong(
        classifier("sparse_categorical_crossentropy", activation="softmax"),
        lambda: nn.Sequential(*port(outputs=3), nn.Softmax(-1)),
        y=CLASSES,
        loss=nn.CrossEntropyLoss(),
    ),
    "huber-delta": Wrong(
        lambda: compiled(K.Dense(2, name="b"), loss=L.Huber(0.25)),
        lambda: nn.Sequential(nn.Linear(5, 2)),
        loss=nn.SmoothL1Loss(beta=0.25),
    ),
    "gradient-clipping": Wrong(
        lambda: compiled(
            K.Dense(2, name="b"), optimizer=lambda: keras.optimizers.SGD(0.125, clipnorm=0.01)
        ),
        lambda: nn.Sequential(nn.Linear(5, 2)),
    ),
    "sgd-default-learning-rate": Wrong(mlp(), port, optimizer=lambda p: optim.SGD(p)),
    "optimizer-kind": Wrong(mlp(), port, optimizer=lambda p: optim.Adam(p, lr=0.125)),
    "sgd-dampening": Wrong(
        lambda: compiled(
            K.Dense(2, name="b"), optimizer=lambda: keras.optimizers.SGD(0.125, momentum=0.5)
        ),
        lambda: nn.Sequential(nn.Linear(5, 2)),
        optimizer=lambda p: optim.SGD(p, lr=0.125, momentum=0.5, dampening=0.5),
    ),
    "learning-rate-schedule": Wrong(
        lambda: compiled(
            K.Dense(2, name="b"),
            optimizer=lambda: keras.optimizers.SGD(
                keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.125, 0.0625])
            ),
        ),
        lambda: nn.Sequential(nn.Linear(5, 2)),
    ),
    "weight-decay": Wrong(
        lambda: compiled(
            K.Dense(2, name="b"),
            optimizer=lambda: keras.optimizers.AdamW(0.125, weight_decay=0.125),
        ),
        lambda: nn.Sequential(nn.Linear(5, 2)),
        optimizer=lambda p: optim.Adam(p, lr=0.125, eps=1e-7, weight_decay=0.125),
    ),
    "adam-epsilon": Wrong(
        lambda: compiled(K.Dense(2, name="b"), optimizer=lambda: keras.optimizers.Adam(0.125)),
        lambda: nn.Sequential(nn.Linear(5, 2)),
        optimizer=lambda p: optim.Adam(p, lr=0.125),
    ),
    "rmsprop-epsilon": Wrong(
        lambda: compiled(K.Dense(2, name="b"), optimizer=lambda: keras.optimizers.RMSprop(0.125)),
        lambda: nn.Sequential(nn.Linear(5, 2)),
        optimizer=lambda p: optim.RMSprop(p, lr=0.125, alpha=0.9),
    ),
    "optimizer-defaults": Wrong(
        lambda: compiled(K.Dense(2, name="b"), optimizer=lambda: keras.optimizers.RMSprop()),
        lambda: nn.Sequential(nn.Linear(5, 2)),
        optimizer=lambda p: optim.RMSprop(p, alpha=0.9, eps=1e-7),
    ),
    "kl-batchmean": Wrong(
        lambda: compiled(K.Dense(3, activation="softmax", name="b"), loss=L.KLDivergence()),
        lambda: nn.Sequential(nn.Linear(5, 3), nn.LogSoftmax(-1)),
        y=0.7 * HOT + 0.1,
        loss=nn.KLDivLoss(),
    ),
    **{
        f"dropout-{name}": Wrong(mlp([lambda: K.Dropout(0.5)]), partial(port, *parts))
        for name, parts in {
            "rate": [nn.Dropout(0.25)],
            "kind": [nn.AlphaDropout(0.5)],
            "in-eval": [AlwaysDropped()],
            "missing": [],
        }.items()
    },
    "dropout-place": Wrong(
        lambda: compiled(
            K.Dense(4, name="a"), K.Dropout(0.5), K.Dense(4, name="middle"), K.Dense(2, name="b")
        ),
        lambda: nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2)),
    ),
    "gradient-accumulation": Wrong(
        lambda: compiled(
            K.Dense(2, name="b"),
            optimizer=lambda: keras.optimizers.SGD(0.125, gradient_accumulation_steps=2),
        ),
        lambda: nn.Sequential(nn.Linear(5, 2)),
    ),
}
"""Name of a convention → a port that has it wrong, and nothing else of which it would be told."""
