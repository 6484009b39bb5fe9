"""Conventions of layers, dtypes and data order, each on a computation of a few lines.

Each function has a twin of the same name in `torch.demonstrate_layers`, from the same numbers,
and takes `remedied`: whether the remedy is in place.
"""

from __future__ import annotations

import keras
import numpy as np
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
