"""Conventions of optimizers, losses and metrics, each on a computation of a few lines.

Each function has a twin of the same name in `torch.demonstrate_training`, from the same numbers,
and takes `remedied`: whether the remedy is in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from compare.backends.keras.demonstrate_layers import Arrays, filled, normal
from compare.backends.keras.weights import read_weights

STEPS = 30
RATE, LOWER_RATE, DECAY, LARGEST_NORM = 0.05, 0.005, 0.125, 0.5


def samples() -> tuple[np.ndarray, np.ndarray]:
    """Inputs (20, 3), the last of them tiny, as from a unit that hardly fires; targets (20, 1)."""
    return normal(20, 3) * np.array([1.0, 1.0, 1e-6]), normal(20, 1)


def dense(**options: Any) -> keras.Model:
    """Three inputs, one output."""
    return filled(keras.Sequential([keras.Input((3,)), layers.Dense(1, name="output", **options)]))


def trained(
    optimizer: keras.optimizers.Optimizer, before: Callable[[int], None] = lambda step: None
) -> Arrays:
    """The weights after 30 steps on the mean squared error; `before` runs before each."""
    model = dense()
    model.compile(optimizer, loss="mse")
    x, y = samples()
    for step in range(STEPS):
        before(step)
        model.train_on_batch(x, y)
    return read_weights(model)


def sgd(**options: Any) -> keras.optimizers.SGD:
    """SGD with momentum 0.9, of which Keras keeps every digit."""
    return keras.optimizers.SGD(
        **{"learning_rate": RATE, "momentum": np.float64(0.9), **options},
    )


def adam_epsilon(remedied: bool) -> Arrays:
    """Adam, with betas of which Keras keeps every digit."""
    betas = {"beta_1": np.float64(0.9), "beta_2": np.float64(0.999)}
    return trained(keras.optimizers.Adam(RATE, **betas))


def adam_beta_float32(remedied: bool) -> Arrays:
    """Adam's betas as they are, or as Python floats, which Keras rounds to float32."""
    return adam_epsilon(remedied) if remedied else trained(keras.optimizers.Adam(RATE))


def rmsprop_epsilon(remedied: bool) -> Arrays:
    """RMSprop with Keras' defaults."""
    return trained(keras.optimizers.RMSprop(RATE))


def optimizer_defaults(remedied: bool) -> Arrays:
    """RMSprop with Keras' default learning rate."""
    return trained(keras.optimizers.RMSprop(rho=np.float64(0.9)))


def weight_decay(remedied: bool) -> Arrays:
    """Weights that shrink beside the gradient step."""
    return trained(sgd(weight_decay=DECAY))


def sgd_learning_rate_change(remedied: bool) -> Arrays:
    """A learning rate that drops half way, with momentum."""
    optimizer = sgd()

    def lower(step: int) -> None:
        if step == STEPS // 2:
            optimizer.learning_rate = LOWER_RATE

    return trained(optimizer, lower)


def learning_rate_schedule(remedied: bool) -> Arrays:
    """An exponential schedule, which advances with every step."""
    schedule = keras.optimizers.schedules.ExponentialDecay(
        np.float64(RATE), decay_steps=1, decay_rate=np.float64(0.9)
    )
    return trained(sgd(learning_rate=schedule, momentum=0.0))


def gradient_clipping(remedied: bool) -> Arrays:
    """The norm of each weight's gradient bounded."""
    return trained(sgd(clipnorm=LARGEST_NORM))


def regularizers_in_loss(remedied: bool) -> Arrays:
    """The reported loss, with the penalty on the kernel."""
    model = dense(kernel_regularizer=keras.regularizers.L2(DECAY))
    model.compile(sgd(), loss="mse")
    return {"loss": np.float64(model.evaluate(*samples(), verbose=0))}


def broadcast_loss(remedied: bool) -> Arrays:
    """Predictions (20, 1) against targets (20,)."""
    loss = keras.losses.MeanSquaredError()(normal(20, 3)[:, 0], normal(20, 1))
    return {"loss": keras.ops.convert_to_numpy(loss)}


def loss_from_logits(remedied: bool) -> Arrays:
    """Loss and gradient where the sigmoid has saturated."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, use_bias=False, kernel_initializer="identity", activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.SGD(1.0), loss="binary_crossentropy")
    logits = np.array([[-50.0, -2.0, 2.0, 50.0]])
    loss = model.train_on_batch(logits, np.zeros((1, 4)))
    step = np.eye(4) - keras.ops.convert_to_numpy(model.weights[0])
    # The gradient of a kernel on the diagonal is that of its logit, times the input.
    return {"loss": np.float64(loss), "gradient": np.diag(step) / logits[0]}


def cross_entropy_logits(remedied: bool) -> Arrays:
    """The cross-entropy of a softmax."""
    probabilities = keras.ops.softmax(normal(20, 3))
    losses = keras.losses.sparse_categorical_crossentropy(np.arange(20) % 3, probabilities)
    return {"loss": keras.ops.convert_to_numpy(keras.ops.mean(losses))}


def accuracy_threshold(remedied: bool) -> Arrays:
    """Accuracy where probabilities are exactly 0.5, as those of a network that starts at zero."""
    probability = np.array([0.0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 1.0])
    label = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    metric = keras.metrics.BinaryAccuracy()
    metric.update_state(label, probability)
    return {"accuracy": np.float64(metric.result())}
