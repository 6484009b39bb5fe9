"""Keras behind the surface that `compare` knows (`compare.backends.protocol.Framework`).

The only file of this package that `compare` loads. `probe.py` and `demonstrations.py` share its
names, never its code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from bn_keras.cnn import build_cnn
from bn_keras.data import PlannedBatches
from bn_keras.lstm import build_lstm
from bn_keras.mlp import build_mlp
from bn_keras.training import compile_model, fit, reporting
from compare.backends.keras import rules, settings, structures, timing, weights
from compare.backends.keras import trace as probe
from compare.backends.keras import trace as repeating
from compare.backends.keras.demos import DEMONSTRATIONS
from compare.backends.keras.events import EventLog

if TYPE_CHECKING:
    from compare.backends.keras.many_seeds import ManySeeds, OnEpoch

_BUILDERS = {"mlp": build_mlp, "cnn": build_cnn, "lstm": build_lstm}

read_weights = weights.read_weights
write_weights = weights.write_weights
time_fit, configurations = timing.time_fit, timing.configurations


def configure(*, dtype: str, threads: int, accelerator: str = "cpu") -> None:
    """Set the dtype, the number of threads and the device of this process.

    Args:
        dtype: `"float32"` or `"float64"`, for models built from now on.
        threads: Threads per operation; takes effect before the first operation alone.
        accelerator: `"cpu"` hides every GPU; `"gpu"` leaves them to Keras, before the first
            operation alone.
    """
    keras.config.set_floatx(dtype)
    # A policy that was asked for before is cached, and would keep the old dtype.
    keras.config.set_dtype_policy(dtype)
    keras.config.set_image_data_format("channels_last")
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        # It warns of every small model that is traced anew; errors still pass.
        tf.get_logger().setLevel(logging.ERROR)
        threading = tf.config.threading
        if threading.get_intra_op_parallelism_threads() != threads:
            threading.set_intra_op_parallelism_threads(threads)
            threading.set_inter_op_parallelism_threads(threads)
            if accelerator == "cpu":
                # Torch's Trainer is told where to compute, TensorFlow sees no other device.
                tf.config.set_visible_devices([], "GPU")


def build(
    family: str,
    options: Mapping[str, object],
    *,
    seed: int,
    sgd: Mapping[str, float],
    undone: Collection[str],
) -> keras.Model:
    """A compiled model with Keras' own initial weights.

    Args:
        family: `"mlp"`, `"cnn"` or `"lstm"`.
        options: Arguments of the builder, with `decay` for Keras' `momentum`.
        seed: Seed of Keras' initializers.
        sgd: `learning_rate` and `momentum`.
        undone: Conventions whose remedy is left out.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    renamed = {"momentum" if name == "decay" else name: v for name, v in options.items()}
    model = _BUILDERS[family](**renamed)
    momentum = sgd["momentum"]
    if "sgd-momentum-float32" not in undone:
        momentum = np.float64(momentum)
    return compile_model(model, learning_rate=sgd["learning_rate"], momentum=momentum)


def draw_orders(n: int, *, epochs: int, seed: int) -> np.ndarray:
    """The order of the samples in every epoch, (epochs, n), as Keras' own generator draws it."""
    generator = keras.random.SeedGenerator(seed)
    return np.stack(
        [np.array(keras.random.shuffle(np.arange(n), seed=generator)) for _ in range(epochs)]
    )


def train(
    handle: keras.Model,
    data: tuple[np.ndarray, np.ndarray],
    *,
    orders: np.ndarray,
    batch_size: int,
    on_epoch: Callable[[float, float], None],
) -> None:
    """`model.fit` over all epochs.

    Args:
        handle: What `build` returned.
        data: Samples in Keras' layout, and labels, (n,).
        orders: The order of the samples in every epoch, (epochs, n).
        batch_size: Samples per batch; a short last batch is kept.
        on_epoch: Called after every epoch with the running training loss and accuracy.
    """
    fit(handle, PlannedBatches(*data, orders, batch_size), callbacks=[reporting(on_epoch)])


def event_log(handle: keras.Model, folder: str) -> EventLog:
    """What writes the curves of a run for TensorBoard; see `keras.events.EventLog`."""
    return EventLog(handle, folder)


def compile_many(
    handle: keras.Model,
    data: tuple[np.ndarray, np.ndarray],
    *,
    batch_size: int,
    views: Mapping[str, tuple[np.ndarray, bool]],
) -> ManySeeds:
    """What `fit_many` runs, traced once for any number of seeds; see `keras.fast.ManySeeds`."""
    # Needs TensorFlow, which Keras on another backend does not.
    from compare.backends.keras import many_seeds

    return many_seeds.ManySeeds(handle, data, batch_size=batch_size, views=views)


def fit_many(
    program: ManySeeds,
    starts: Iterable[tuple[keras.Model, np.ndarray]],
    *,
    on_epoch: OnEpoch,
) -> Iterator[keras.Model]:
    """Train from many starts at once; yields the trained models; see `ManySeeds.fit`."""
    return program.fit(starts, on_epoch=on_epoch)


def predict_proba(
    handle: keras.Model, x: np.ndarray, *, batch_statistics: bool = False
) -> np.ndarray:
    """Probability of class 1, (n,), for all of `x` at once; leaves the model as it is.

    Args:
        handle: What `build` returned.
        x: Samples in Keras' layout.
        batch_statistics: Whether batch normalization uses the statistics of `x` itself.
    """
    if not batch_statistics:
        return np.array(handle.predict_on_batch(x)).reshape(len(x))
    output, _ = handle.stateless_call(
        handle.trainable_variables, handle.non_trainable_variables, x, training=True
    )
    return weights.to_numpy(output).reshape(len(x))


def demonstrate(name: str, *, remedied: bool) -> dict[str, np.ndarray]:
    """The arrays of a convention's demonstration; with the remedy Torch computes the same.

    Args:
        name: A key of `keras.demonstrations.DEMONSTRATIONS`.
        remedied: Whether the remedy is in place, on whichever side it belongs.
    """
    return DEMONSTRATIONS[name](remedied)


def versions() -> dict[str, str]:
    """Versions of what computes here, and the backend."""
    backend = keras.config.backend()
    found = {"keras": keras.__version__, "keras_backend": backend}
    if backend == "tensorflow":
        import tensorflow as tf

        found["tensorflow"] = tf.__version__
    return found


def accelerator() -> str:
    """The device that computes here: `"cpu"`, or the name of an accelerator."""
    devices = keras.distribution.list_devices()
    return next((d for d in devices if not d.startswith("cpu")), "cpu")


def trace(
    handle: keras.Model,
    batches: Sequence[tuple[Any, Any]],
    sink: probe.Sink,
    *,
    jit_compile: bool = False,
) -> list[dict[str, Any]]:
    """Record a training step per batch, and one evaluation; see `keras.probe.trace`."""
    return probe.trace(handle, batches, sink, jit_compile=jit_compile)


evaluate, describe = probe.evaluate, probe.describe
sample_input = structures.sample_input
add_rule, forget_rule = rules.add_rule, rules.forget_rule
optimizer_settings, loss_settings = settings.optimizer_settings, settings.loss_settings
random_parts = settings.random_parts
repeats = repeating.repeats


def delivered(
    handle: keras.Model, orders: np.ndarray, *, batch_size: int
) -> list[list[np.ndarray]]:
    """The samples of every batch of every epoch, by index, as training gets to see them."""
    samples = np.arange(orders.shape[1])
    batches = PlannedBatches(samples, samples, orders, batch_size)
    seen = []
    for epoch in range(len(orders)):
        batches.epoch = epoch
        seen.append([batches[index][0] for index in range(len(batches))])
    return seen


@contextmanager
def building(dtype: str) -> Iterator[None]:
    """Models built inside are in a dtype, `"float32"` or `"float64"`."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(dtype)
    # A policy that was asked for before is cached, and would keep the old dtype.
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


def is_model(handle: object) -> bool:
    """Whether something is a Keras model."""
    return isinstance(handle, keras.Model)


def dtype_of(model: keras.Model) -> str:
    """The dtype that a model computes in: `"float32"` or `"float64"`.

    Raises:
        TypeError: It is not a Keras model, or a layer computes in half precision.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"expected a keras.Model, received {type(model).__name__}")
    for layer in model._flatten_layers():
        dtype = layer.dtype_policy.compute_dtype
        if dtype in ("float16", "bfloat16"):
            raise TypeError(
                f"{layer.name} computes in {dtype} (dtype policy {layer.dtype_policy.name}), "
                "expected float32 or float64: build the model under one of these policies"
            )
    return str(model.dtype_policy.compute_dtype if not model.weights else model.weights[0].dtype)
