"""Small computations for the conventions that the tutorial's networks cannot show.

Each has a twin of the same name in `torch.demonstrations`, from the same numbers. With the
remedy in place both return the same float64 arrays, to rounding; without it they do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from bn_keras.data import PlannedBatches
from compare.backends.keras.weights import named_variables, read_weights

Arrays = dict[str, np.ndarray]


def normal(*shape: int) -> np.ndarray:
    """Normal numbers in float64: the same for a shape in every call, and in the Torch twin."""
    return np.random.default_rng(shape).standard_normal(shape)


def filled(model: keras.Model) -> keras.Model:
    """The model with kernels set, and biases zero."""
    for name, variable in named_variables(model).items():
        if name.endswith("kernel"):
            variable.assign(normal(*variable.shape))
    return model


def trained(norm: layers.BatchNormalization) -> Arrays:
    """All weights after 30 steps of a dense layer, `norm` and a dense layer."""
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(4, name="hidden"), norm, layers.Dense(1, name="output")]
    )
    filled(model).compile(keras.optimizers.SGD(0.05), loss="mse")
    for _ in range(30):
        model.train_on_batch(normal(20, 3), normal(20, 1))
    return read_weights(model)


def statistics(norm: layers.BatchNormalization, *batches: np.ndarray) -> Arrays:
    """The moving statistics after some batches in training mode."""
    for batch in batches:
        norm(batch, training=True)
    return _statistics(norm)


def _statistics(norm: layers.BatchNormalization) -> Arrays:
    return {
        "moving_mean": keras.ops.convert_to_numpy(norm.moving_mean),
        "moving_variance": keras.ops.convert_to_numpy(norm.moving_variance),
    }


def bn_frozen(remedied: bool) -> Arrays:
    """Batch normalization that is not trainable: it works as in inference."""
    return trained(layers.BatchNormalization(trainable=False, name="batch_norm"))


def bn_center_only(remedied: bool) -> Arrays:
    """Batch normalization that learns a shift and no scale."""
    found = trained(layers.BatchNormalization(scale=False, name="batch_norm"))
    return {**found, "batch_norm/gamma": np.ones(4)}


def bn_batch_of_one(remedied: bool) -> Arrays:
    """A batch of four, then one of a single sample."""
    return statistics(layers.BatchNormalization(), normal(4, 3), normal(1, 3))


def bn_axis(remedied: bool) -> Arrays:
    """Sequences (8, 4, 4) of as many steps as features: the last axis is normalized."""
    output = layers.BatchNormalization()(normal(8, 4, 4), training=True)
    return {"output": keras.ops.convert_to_numpy(output)}


def bn_mask(remedied: bool) -> Arrays:
    """Padded sequences, without their mask or with it."""
    norm = layers.BatchNormalization()
    mask = None if remedied else np.arange(5) < np.array([[5], [3], [4], [2]])
    norm(normal(4, 5, 3), training=True, mask=mask)
    return _statistics(norm)


def bn_sync(remedied: bool) -> Arrays:
    """The biased variance is tracked."""
    return statistics(layers.BatchNormalization(), normal(4, 3), normal(5, 3))


def gru_gate_order(remedied: bool) -> Arrays:
    """A GRU of four units."""
    gru = layers.GRU(4)
    gru.build((None, 5, 3))
    gru.set_weights([normal(3, 12), normal(4, 12), normal(2, 12)])
    return {"output": keras.ops.convert_to_numpy(gru(normal(8, 5, 3)))}


def same_padding_stride(remedied: bool) -> Arrays:
    """A 3×3 convolution of stride 2 over 6×6 images, padded to half the size."""
    output = keras.ops.conv(normal(2, 6, 6, 1), normal(3, 3, 1, 2), strides=2, padding="same")
    return {"output": keras.ops.convert_to_numpy(output)}


def average_pool_same(remedied: bool) -> Arrays:
    """Averages over 3×3 windows, at the border over fewer pixels."""
    output = keras.ops.average_pool(normal(2, 6, 6, 1), 3, strides=1, padding="same")
    return {"output": keras.ops.convert_to_numpy(output)}


def transposed_padding(remedied: bool) -> Arrays:
    """A transposed 3×3 convolution of stride 2 over 4×4 images, to twice the size."""
    image, kernel = normal(2, 4, 4, 1), normal(3, 3, 2, 1)
    output = keras.ops.conv_transpose(image, kernel, strides=2, padding="same")
    return {"output": keras.ops.convert_to_numpy(output)}


def norm_epsilon(remedied: bool) -> Arrays:
    """Layer and group normalization of four features with Keras' defaults."""
    x = normal(8, 4)
    norms = {"layer": layers.LayerNormalization(), "group": layers.GroupNormalization(2)}
    return {name: keras.ops.convert_to_numpy(norm(x)) for name, norm in norms.items()}


def leaky_relu_slope(remedied: bool) -> Arrays:
    """A leaky ReLU with Keras' default slope of 0.3, which it rounds to float32."""
    return {"output": keras.ops.convert_to_numpy(layers.LeakyReLU()(normal(20, 3)))}


def float32_constants(remedied: bool) -> Arrays:
    """A leaky ReLU of large values: its slope is rounded to float32."""
    return {"output": keras.ops.convert_to_numpy(layers.LeakyReLU(0.3)(100.0 * normal(20, 3)))}


def float64_plumbing(remedied: bool) -> Arrays:
    """A dense layer in float64."""
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="dense")])
    return {"output": filled(model).predict_on_batch(normal(20, 3))}


class _Observer(keras.Model):
    """Writes down the samples it is shown, and learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def train_step(self, data: tuple) -> dict:
        self.seen.append(float(data[0][0]))
        return {"loss": 0.0}


def shuffle_seed(remedied: bool) -> Arrays:
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


TOKENS = np.array([[1, 2, 3, 1], [2, 1, 1, 0], [3, 4, 0, 0], [4, 0, 0, 0]])
"""Four sequences; token 0 pads them at the end."""


def embedding(**options: Any) -> layers.Embedding:
    """Five tokens of three features."""
    table = layers.Embedding(5, 3, name="tokens", **options)
    table.build()
    table.set_weights([normal(5, 3)])
    return table


def trained_demonstrate_sequences(optimizer: keras.optimizers.Optimizer) -> Arrays:
    """The table of tokens after 30 steps towards random targets."""
    table = embedding()
    model = keras.Sequential([keras.Input((4,), dtype="int32"), table])
    model.compile(optimizer, loss="mse")
    for _ in range(30):
        model.train_on_batch(TOKENS, normal(4, 4, 3))
    return {"tokens": keras.ops.convert_to_numpy(table.embeddings)}


def padding_idx(remedied: bool) -> Arrays:
    """A table all of whose rows are trained."""
    return trained_demonstrate_sequences(keras.optimizers.SGD(0.5))


class DenseRMSprop(keras.optimizers.RMSprop):
    """Adds up what the occurrences of a token contribute before it squares them."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(tf.convert_to_tensor(gradient), variable, learning_rate)


def sparse_gradients(remedied: bool) -> Arrays:
    """A table of which tokens occur more than once, trained with RMSprop."""
    rmsprop = DenseRMSprop if remedied else keras.optimizers.RMSprop
    return trained_demonstrate_sequences(rmsprop(0.01, rho=np.float64(0.9)))


def mask_zero(remedied: bool) -> Arrays:
    """A recurrent layer that skips padding."""
    rnn = layers.SimpleRNN(4)
    rnn.build((None, 4, 3))
    rnn.set_weights([normal(3, 4), normal(4, 4), np.zeros(4)])
    return {"output": keras.ops.convert_to_numpy(rnn(embedding(mask_zero=True)(TOKENS)))}


def gru_reset_after(remedied: bool) -> Arrays:
    """A GRU of four units that resets its state before the recurrent kernel."""
    gru = layers.GRU(4, reset_after=False)
    gru.build((None, 5, 3))
    gru.set_weights([normal(3, 12), normal(4, 12), np.zeros(12)])
    return {"output": keras.ops.convert_to_numpy(gru(normal(8, 5, 3)))}


STEPS = 30
RATE, LOWER_RATE, DECAY, LARGEST_NORM = 0.05, 0.005, 0.125, 0.5


def samples() -> tuple[np.ndarray, np.ndarray]:
    """Inputs (20, 3), the last of them tiny, as from a unit that hardly fires; targets (20, 1)."""
    return normal(20, 3) * np.array([1.0, 1.0, 1e-6]), normal(20, 1)


def dense(**options: Any) -> keras.Model:
    """Three inputs, one output."""
    return filled(keras.Sequential([keras.Input((3,)), layers.Dense(1, name="output", **options)]))


def trained_demonstrate_training(
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
    return trained_demonstrate_training(keras.optimizers.Adam(RATE, **betas))


def adam_beta_float32(remedied: bool) -> Arrays:
    """Adam's betas as they are, or as Python floats, which Keras rounds to float32."""
    return (
        adam_epsilon(remedied)
        if remedied
        else trained_demonstrate_training(keras.optimizers.Adam(RATE))
    )


def rmsprop_epsilon(remedied: bool) -> Arrays:
    """RMSprop with Keras' defaults."""
    return trained_demonstrate_training(keras.optimizers.RMSprop(RATE))


def optimizer_defaults(remedied: bool) -> Arrays:
    """RMSprop with Keras' default learning rate."""
    return trained_demonstrate_training(keras.optimizers.RMSprop(rho=np.float64(0.9)))


def weight_decay(remedied: bool) -> Arrays:
    """Weights that shrink beside the gradient step."""
    return trained_demonstrate_training(sgd(weight_decay=DECAY))


def sgd_learning_rate_change(remedied: bool) -> Arrays:
    """A learning rate that drops half way, with momentum."""
    optimizer = sgd()

    def lower(step: int) -> None:
        if step == STEPS // 2:
            optimizer.learning_rate = LOWER_RATE

    return trained_demonstrate_training(optimizer, lower)


def learning_rate_schedule(remedied: bool) -> Arrays:
    """An exponential schedule, which advances with every step."""
    schedule = keras.optimizers.schedules.ExponentialDecay(
        np.float64(RATE), decay_steps=1, decay_rate=np.float64(0.9)
    )
    return trained_demonstrate_training(sgd(learning_rate=schedule, momentum=0.0))


def gradient_clipping(remedied: bool) -> Arrays:
    """The norm of each weight's gradient bounded."""
    return trained_demonstrate_training(sgd(clipnorm=LARGEST_NORM))


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


DEMONSTRATIONS: dict[str, Callable[[bool], dict[str, np.ndarray]]] = {
    "accuracy-threshold": accuracy_threshold,
    "adam-beta-float32": adam_beta_float32,
    "adam-epsilon": adam_epsilon,
    "average-pool-same": average_pool_same,
    "bn-axis": bn_axis,
    "bn-batch-of-one": bn_batch_of_one,
    "bn-center-only": bn_center_only,
    "bn-frozen": bn_frozen,
    "bn-mask": bn_mask,
    "bn-sync": bn_sync,
    "broadcast-loss": broadcast_loss,
    "cross-entropy-logits": cross_entropy_logits,
    "float32-constants": float32_constants,
    "float64-plumbing": float64_plumbing,
    "gradient-clipping": gradient_clipping,
    "gru-gate-order": gru_gate_order,
    "gru-reset-after": gru_reset_after,
    "leaky-relu-slope": leaky_relu_slope,
    "learning-rate-schedule": learning_rate_schedule,
    "loss-from-logits": loss_from_logits,
    "mask-zero": mask_zero,
    "norm-epsilon": norm_epsilon,
    "optimizer-defaults": optimizer_defaults,
    "padding-idx": padding_idx,
    "regularizers-in-loss": regularizers_in_loss,
    "rmsprop-epsilon": rmsprop_epsilon,
    "same-padding-stride": same_padding_stride,
    "sgd-learning-rate-change": sgd_learning_rate_change,
    "shuffle-seed": shuffle_seed,
    "sparse-gradients": sparse_gradients,
    "transposed-padding": transposed_padding,
    "weight-decay": weight_decay,
}
"""Name of the convention → function of whether its remedy is in place."""
