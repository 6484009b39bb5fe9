"""Small computations for the conventions that the tutorial's networks cannot show.

Each has a twin of the same name in `torch.demos`, from the same numbers. With the remedy in place
both return the same float64 arrays, to rounding; without it they do not. Most remedies belong on
Torch's side alone: then Keras computes the same either way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops, optimizers

from bn_keras.data import PlannedBatches
from compare.backends.keras.structures import to_numpy
from compare.backends.keras.weights import named_tensors, read_weights
from compare.data import Array

Demonstration = Callable[[bool], dict[str, Any]]
"""From whether the remedy is in place to arrays or tensors by name."""

STEPS = 30
RATE, LOWER_RATE, DECAY, LARGEST_NORM = 0.05, 0.005, 0.125, 0.5

TOKENS = np.array([[1, 2, 3, 1], [2, 1, 1, 0], [3, 4, 0, 0], [4, 0, 0, 0]])
"""Four sequences; token 0 pads them at the end."""


def normal(*shape: int) -> Array:
    """Normal numbers in float64: the same for a shape in every call, and in the Torch twin."""
    return np.random.default_rng(shape).standard_normal(shape)


def samples() -> tuple[Array, Array]:
    """Inputs (20, 3), the last of them tiny, as from a unit that hardly fires; targets (20, 1)."""
    return normal(20, 3) * np.array([1.0, 1.0, 1e-6]), normal(20, 1)


def filled(*parts: keras.Layer) -> keras.Model:
    """A model of these layers with kernels set, and biases zero."""
    model = keras.Sequential([keras.Input((3,)), *parts])
    for name, tensor in named_tensors(model).items():
        if name.endswith("kernel"):
            tensor.assign(normal(*tensor.shape))
    return model


def dense(**options: Any) -> keras.Model:
    """Three inputs, one output."""
    return filled(layers.Dense(1, name="output", **options))


def embedding(**options: Any) -> layers.Embedding:
    """Five tokens of three features."""
    table = layers.Embedding(5, 3, name="tokens", **options)
    table.build()
    table.set_weights([normal(5, 3)])
    return table


def sgd(**options: Any) -> optimizers.SGD:
    """SGD with momentum 0.9, of which Keras keeps every digit."""
    return optimizers.SGD(**{"learning_rate": RATE, "momentum": np.float64(0.9), **options})


def adam() -> optimizers.Adam:
    """Adam with betas of which Keras keeps every digit."""
    return optimizers.Adam(RATE, beta_1=np.float64(0.9), beta_2=np.float64(0.999))


class DenseRMSprop(optimizers.RMSprop):
    """Adds up what the occurrences of a token contribute before it squares them."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(tf.convert_to_tensor(gradient), variable, learning_rate)


def train(
    model: keras.Model,
    optimizer: optimizers.Optimizer,
    data: tuple[Array, Array],
    before: Callable[[int], None] = lambda step: None,
) -> dict[str, Array]:
    """The weights after 30 steps on the mean squared error; `before` runs before each."""
    model.compile(optimizer, loss="mse")
    for step in range(STEPS):
        before(step)
        model.train_on_batch(*data)
    return read_weights(model)


def trained_dense(
    optimizer: optimizers.Optimizer, before: Callable[[int], None] = lambda step: None
) -> dict[str, Array]:
    """The weights of three inputs and an output after training."""
    return train(dense(), optimizer, samples(), before)


def trained_norm(**options: Any) -> dict[str, Array]:
    """All weights after training a dense layer, batch normalization and a dense layer."""
    norm = layers.BatchNormalization(name="batch_norm", **options)
    model = filled(layers.Dense(4, name="hidden"), norm, layers.Dense(1, name="output"))
    return train(model, optimizers.SGD(0.05), (normal(20, 3), normal(20, 1)))


def trained_tokens(optimizer: optimizers.Optimizer) -> dict[str, Any]:
    """The table of tokens after training towards random targets."""
    table = embedding()
    model = keras.Sequential([keras.Input((4,), dtype="int32"), table])
    train(model, optimizer, (TOKENS, normal(4, 4, 3)))
    return {"tokens": table.embeddings}


def statistics(*batches: Array, mask: Any = None) -> dict[str, Any]:
    """The moving statistics of batch normalization after some batches in training mode."""
    norm = layers.BatchNormalization()
    for batch in batches:
        norm(batch, training=True, mask=mask)
    return {"moving_mean": norm.moving_mean, "moving_variance": norm.moving_variance}


def recurrent(layer: layers.RNN, weights: list[Array], x: Any) -> dict[str, Any]:
    """The last output of a recurrent layer of three features with these weights."""
    layer.build((None, None, 3))
    layer.set_weights(weights)
    return {"output": layer(x)}


DEMONSTRATIONS: dict[str, Demonstration] = {
    # Batch normalization that is not trainable: it works as in inference.
    "bn-frozen": lambda remedied: trained_norm(trainable=False),
    # Batch normalization that learns a shift and no scale.
    "bn-center-only": lambda remedied: {
        **trained_norm(scale=False),
        "batch_norm/gamma": np.ones(4),
    },
    # A batch of four, then one of a single sample.
    "bn-batch-of-one": lambda remedied: statistics(normal(4, 3), normal(1, 3)),
    # Sequences (8, 4, 4) of as many steps as features: the last axis is normalized.
    "bn-axis": lambda remedied: {
        "output": layers.BatchNormalization()(normal(8, 4, 4), training=True)
    },
    # Padded sequences, without their mask or with it.
    "bn-mask": lambda remedied: statistics(
        normal(4, 5, 3), mask=None if remedied else np.arange(5) < np.array([[5], [3], [4], [2]])
    ),
    # The biased variance is tracked.
    "bn-sync": lambda remedied: statistics(normal(4, 3), normal(5, 3)),
    # A GRU of four units.
    "gru-gate-order": lambda remedied: recurrent(
        layers.GRU(4), [normal(3, 12), normal(4, 12), normal(2, 12)], normal(8, 5, 3)
    ),
    # A GRU of four units that resets its state before the recurrent kernel.
    "gru-reset-after": lambda remedied: recurrent(
        layers.GRU(4, reset_after=False),
        [normal(3, 12), normal(4, 12), np.zeros(12)],
        normal(8, 5, 3),
    ),
    # A recurrent layer that skips padding.
    "mask-zero": lambda remedied: recurrent(
        layers.SimpleRNN(4),
        [normal(3, 4), normal(4, 4), np.zeros(4)],
        embedding(mask_zero=True)(TOKENS),
    ),
    # A 3×3 convolution of stride 2 over 6×6 images, padded to half the size.
    "same-padding-stride": lambda remedied: {
        "output": ops.conv(normal(2, 6, 6, 1), normal(3, 3, 1, 2), strides=2, padding="same")
    },
    # Averages over 3×3 windows, at the border over fewer pixels.
    "average-pool-same": lambda remedied: {
        "output": ops.average_pool(normal(2, 6, 6, 1), 3, strides=1, padding="same")
    },
    # A transposed 3×3 convolution of stride 2 over 4×4 images, to twice the size.
    "transposed-padding": lambda remedied: {
        "output": ops.conv_transpose(
            normal(2, 4, 4, 1), normal(3, 3, 2, 1), strides=2, padding="same"
        )
    },
    # Layer and group normalization of four features with Keras' defaults.
    "norm-epsilon": lambda remedied: {
        "layer": layers.LayerNormalization()(normal(8, 4)),
        "group": layers.GroupNormalization(2)(normal(8, 4)),
    },
    # A leaky ReLU with Keras' default slope of 0.3, which it rounds to float32.
    "leaky-relu-slope": lambda remedied: {"output": layers.LeakyReLU()(normal(20, 3))},
    # A leaky ReLU of large values: its slope is rounded to float32.
    "float32-constants": lambda remedied: {"output": layers.LeakyReLU(0.3)(100.0 * normal(20, 3))},
    # A dense layer in float64.
    "float64-plumbing": lambda remedied: {
        "output": filled(layers.Dense(4, name="dense")).predict_on_batch(normal(20, 3))
    },
    # Adam, with betas of which Keras keeps every digit.
    "adam-epsilon": lambda remedied: trained_dense(adam()),
    # The penalty of a regularizer, whose factor is rounded to float32.
    "float32-inside": lambda remedied: {
        "penalty": np.asarray(keras.regularizers.L2(0.1)(100.0 * normal(20, 3)))
    },
    # Adam's betas as they are, or as Python floats, which Keras rounds to float32.
    "adam-beta-float32": lambda remedied: trained_dense(
        adam() if remedied else optimizers.Adam(RATE)
    ),
    # RMSprop with Keras' defaults.
    "rmsprop-epsilon": lambda remedied: trained_dense(optimizers.RMSprop(RATE)),
    # RMSprop with Keras' default learning rate.
    "optimizer-defaults": lambda remedied: trained_dense(optimizers.RMSprop(rho=np.float64(0.9))),
    # Weights that shrink beside the gradient step.
    "weight-decay": lambda remedied: trained_dense(sgd(weight_decay=DECAY)),
    # The norm of each weight's gradient bounded.
    "gradient-clipping": lambda remedied: trained_dense(sgd(clipnorm=LARGEST_NORM)),
    # A table all of whose rows are trained.
    "padding-idx": lambda remedied: trained_tokens(optimizers.SGD(0.5)),
    # A table of which tokens occur more than once, trained with RMSprop.
    "sparse-gradients": lambda remedied: trained_tokens(
        (DenseRMSprop if remedied else optimizers.RMSprop)(0.01, rho=np.float64(0.9))
    ),
    # Predictions (20, 1) against targets (20,).
    "broadcast-loss": lambda remedied: {
        "loss": keras.losses.MeanSquaredError()(normal(20, 3)[:, 0], normal(20, 1))
    },
}
"""Name of the convention → its demonstration; what takes more than one expression is below."""


def demonstration(function: Demonstration) -> Demonstration:
    """Register a demonstration under its name: `bn_axis` shows the convention `bn-axis`."""
    DEMONSTRATIONS[function.__name__.replace("_", "-")] = function
    return function


class _Observer(keras.Model):
    """Writes down the samples it is shown, and learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def train_step(self, data: tuple[Any, ...]) -> dict[str, float]:
        self.seen.append(float(data[0][0]))
        return {"loss": 0.0}


@demonstration
def shuffle_seed(remedied: bool) -> dict[str, Any]:
    """The order of ten samples in two epochs."""
    plan = np.stack([np.random.default_rng([0, epoch]).permutation(10) for epoch in range(2)])
    keras.utils.set_random_seed(0)
    x = np.arange(10.0)
    observer = _Observer()
    observer.compile(run_eagerly=True)
    if remedied:
        batches = PlannedBatches(x, x, plan, 1)
        observer.fit(batches, epochs=2, shuffle=False, verbose=0, callbacks=[batches.callback])
    else:
        observer.fit(x, x, batch_size=1, epochs=2, shuffle=True, verbose=0)
    orders = [observer.seen[:10], observer.seen[10:]]
    return {"orders": np.array(orders), "same_again": np.float64(orders[0] == orders[1])}


@demonstration
def sgd_learning_rate_change(remedied: bool) -> dict[str, Any]:
    """A learning rate that drops half way, with momentum."""
    optimizer = sgd()

    def lower(step: int) -> None:
        if step == STEPS // 2:
            optimizer.learning_rate = LOWER_RATE

    return trained_dense(optimizer, lower)


@demonstration
def learning_rate_schedule(remedied: bool) -> dict[str, Any]:
    """An exponential schedule, which advances with every step."""
    schedule = optimizers.schedules.ExponentialDecay(
        np.float64(RATE), decay_steps=1, decay_rate=np.float64(0.9)
    )
    return trained_dense(sgd(learning_rate=schedule, momentum=0.0))


@demonstration
def regularizers_in_loss(remedied: bool) -> dict[str, Any]:
    """The reported loss, with the penalty on the kernel."""
    model = dense(kernel_regularizer=keras.regularizers.L2(DECAY))
    model.compile(sgd(), loss="mse")
    return {"loss": np.float64(model.evaluate(*samples(), verbose=0))}


@demonstration
def loss_from_logits(remedied: bool) -> dict[str, Any]:
    """Loss and gradient where the sigmoid has saturated."""
    sigmoid = layers.Dense(4, use_bias=False, kernel_initializer="identity", activation="sigmoid")
    model = keras.Sequential([keras.Input((4,)), sigmoid])
    model.compile(optimizers.SGD(1.0), loss="binary_crossentropy")
    logits = np.array([[-50.0, -2.0, 2.0, 50.0]])
    loss = model.train_on_batch(logits, np.zeros((1, 4)))
    step = np.eye(4) - to_numpy(sigmoid.kernel)
    # The gradient of a kernel on the diagonal is that of its logit, times the input.
    return {"loss": np.float64(loss), "gradient": np.diag(step) / logits[0]}


@demonstration
def cross_entropy_logits(remedied: bool) -> dict[str, Any]:
    """The cross-entropy of a softmax."""
    probabilities = ops.softmax(normal(20, 3))
    losses = keras.losses.sparse_categorical_crossentropy(np.arange(20) % 3, probabilities)
    return {"loss": ops.mean(losses)}


@demonstration
def accuracy_threshold(remedied: bool) -> dict[str, Any]:
    """Accuracy where probabilities are exactly 0.5, as those of a network that starts at zero."""
    metric = keras.metrics.BinaryAccuracy()
    metric.update_state(
        np.array([0, 0, 0, 0, 0, 1, 1, 1]),
        np.array([0.0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 1.0]),
    )
    return {"accuracy": np.float64(metric.result())}
