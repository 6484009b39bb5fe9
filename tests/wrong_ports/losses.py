"""Wrong ports of losses."""

import keras
import numpy as np
import torch
from keras import layers as K
from torch import nn
from torch.nn import functional as F

from wrong_ports.wrong import RNG, Wrong, compiled, keywords, mlp, port, value

L = keras.losses
CLASSES = np.arange(8) % 3
HOT = np.eye(3)[CLASSES]
OF_CLASSES = [1.0, 5.0, 0.5]


def three():
    return port(outputs=3)


def classifier(loss, outputs=3, **last):
    return lambda: compiled(
        K.Dense(4, name="a"),
        K.Dense(outputs, name="b", **last),
        loss=loss() if callable(loss) else loss,
    )


def weighted(y_true, y_pred):
    each = L.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
    weights = keras.ops.convert_to_tensor(np.array(OF_CLASSES), dtype=y_pred.dtype)
    return each * keras.ops.take(weights, keras.ops.cast(y_true, "int32"))


def as_loss(code):
    """The remedy is the loss."""
    return {"loss": value(code)}


def computed(**names):
    """The remedy computes the loss of `output` and `target`."""
    return lambda code: {
        "loss": lambda output, target: value(code, output=output, target=target, **names)
    }


def penalized(weight):
    """The remedy adds to the loss what depends on a weight."""

    def remedied(code):
        module = port()

        def loss(output, target):
            return value(code, loss=F.mse_loss(output, target), **weight(module))

        return {"module": lambda: module, "loss": loss}

    return remedied


LOSSES = {
    "loss-reduction": Wrong(
        mlp(),
        port,
        loss=nn.MSELoss(reduction="sum"),
        remedied=lambda code: {"loss": nn.MSELoss(**keywords(code))},
    ),
    "regularizers-in-loss": Wrong(
        mlp(kernel_regularizer=keras.regularizers.L2(0.125)),
        port,
        remedied=penalized(lambda module: {"weight": module[1].weight}),
    ),
    "regularizers-in-loss: of a bias": Wrong(
        mlp(
            bias_regularizer=keras.regularizers.L1L2(0.25, 0.125),
            bias_initializer=keras.initializers.RandomNormal(seed=0),
        ),
        port,
        remedied=penalized(lambda module: {"bias": module[1].bias}),
    ),
    "broadcast-loss": Wrong(
        mlp(outputs=1),
        lambda: port(outputs=1),
        y=RNG(1).normal(size=8),
        loss=lambda o, t: (o - t.reshape(-1)[None]).square().mean(),
        remedied=lambda code: {
            "loss": lambda output, labels: F.mse_loss(output, value(code, labels=labels))
        },
    ),
    "class-weights": Wrong(
        classifier(lambda: weighted),
        three,
        y=CLASSES,
        loss=nn.CrossEntropyLoss(weight=torch.tensor(OF_CLASSES, dtype=torch.float64)),
        remedied=computed(weight=torch.tensor(OF_CLASSES, dtype=torch.float64)),
    ),
    "sample-weights": Wrong(
        classifier(lambda: L.SparseCategoricalCrossentropy(from_logits=True)),
        three,
        y=CLASSES,
        loss=lambda o, t, w: (F.cross_entropy(o, t, reduction="none") * w).sum() / w.sum(),
        options={"sample_weight": np.linspace(0.5, 2.0, 8)},
        remedied=lambda code: {
            "loss": lambda output, target, sample_weight: value(
                code,
                loss=F.cross_entropy,
                output=output,
                target=target,
                sample_weight=sample_weight,
            )
        },
    ),
    "label-smoothing": Wrong(
        classifier(lambda: L.CategoricalCrossentropy(from_logits=True, label_smoothing=0.25)),
        three,
        y=HOT,
        loss=nn.CrossEntropyLoss(),
        remedied=lambda code: {"loss": nn.CrossEntropyLoss(**keywords(code))},
    ),
    "nll-probabilities": Wrong(
        classifier("sparse_categorical_crossentropy", activation="softmax"),
        three,
        y=CLASSES,
        loss=lambda o, t: F.nll_loss(o.softmax(-1), t),
        remedied=computed(),
    ),
    "loss-from-logits": Wrong(
        classifier("binary_crossentropy", outputs=1, activation="sigmoid"),
        lambda: nn.Sequential(*port(outputs=1), nn.Sigmoid()),
        300.0 * RNG(0).normal(size=(8, 5)),
        np.arange(8.0).reshape(8, 1) % 2,
        loss=nn.BCELoss(),
        # On logits, says the remedy: without the sigmoid.
        remedied=lambda code: {"module": lambda: port(outputs=1), **as_loss(code)},
    ),
    "cross-entropy-logits": Wrong(
        classifier("sparse_categorical_crossentropy", activation="softmax"),
        lambda: nn.Sequential(*three(), nn.Softmax(-1)),
        y=CLASSES,
        loss=nn.CrossEntropyLoss(),
        remedied=lambda code: {"module": lambda: nn.Sequential(*three(), value(code))},
    ),
    "huber-delta": Wrong(
        lambda: compiled(K.Dense(2, name="b"), loss=L.Huber(0.25)),
        lambda: nn.Sequential(nn.Linear(5, 2)),
        loss=nn.SmoothL1Loss(beta=0.25),
        remedied=as_loss,
    ),
    "kl-batchmean": Wrong(
        lambda: compiled(K.Dense(3, activation="softmax", name="b"), loss=L.KLDivergence()),
        lambda: nn.Sequential(nn.Linear(5, 3), nn.LogSoftmax(-1)),
        y=0.7 * HOT + 0.1,
        loss=nn.KLDivLoss(),
        remedied=as_loss,
    ),
}
