"""The tutorial's networks by neutral options, and the dtype and device that models compute with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bn_keras.cnn import build_cnn
from bn_keras.lstm import build_lstm
from bn_keras.mlp import build_mlp
from bn_keras.training import compile_model

_BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "mlp": build_mlp,
    "cnn": build_cnn,
    "lstm": build_lstm,
}


def configure(*, dtype: str, threads: int, accelerator: str = "cpu") -> None:
    """See `Framework.configure`; threads and device count before the first operation alone."""
    _set_dtype(dtype, dtype)
    keras.config.set_image_data_format("channels_last")
    if keras.config.backend() == "tensorflow":
        # It warns of every small model that is traced anew; errors still pass.
        tf.get_logger().setLevel(logging.ERROR)
        threading = tf.config.threading
        if threading.get_intra_op_parallelism_threads() != threads:
            threading.set_intra_op_parallelism_threads(threads)
            threading.set_inter_op_parallelism_threads(threads)
            if accelerator == "cpu":
                # TensorFlow computes on any GPU that it sees.
                tf.config.set_visible_devices([], "GPU")


@contextmanager
def building(dtype: str) -> Iterator[None]:
    """See `Framework.building`."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    _set_dtype(dtype, dtype)
    try:
        yield
    finally:
        _set_dtype(*before)


def _set_dtype(floatx: str, policy: Any) -> None:
    keras.config.set_floatx(floatx)
    # A policy that was asked for before is cached, and would keep the old dtype.
    keras.config.set_dtype_policy(policy)


def build(
    family: str,
    options: Mapping[str, Any],
    *,
    seed: int,
    sgd: Mapping[str, float],
    undone: Collection[str],
) -> keras.Model:
    """See `Framework.build`; the weights are those of Keras' own initializers."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    renamed = {"momentum" if name == "decay" else name: v for name, v in options.items()}
    model = _BUILDERS[family](**renamed)
    momentum = sgd["momentum"]
    if "sgd-momentum-float32" not in undone:
        momentum = np.float64(momentum)
    return compile_model(model, learning_rate=sgd["learning_rate"], momentum=momentum)


def is_model(handle: object) -> bool:
    """See `Framework.is_model`."""
    return isinstance(handle, keras.Model)


def dtype_of(model: keras.Model) -> str:
    """See `Framework.dtype_of`; no layer may compute in half precision."""
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


def versions() -> dict[str, str]:
    """See `Framework.versions`; with the backend of Keras."""
    backend = keras.config.backend()
    versions = {"keras": keras.__version__, "keras_backend": backend}
    return {**versions, "tensorflow": tf.__version__} if backend == "tensorflow" else versions


def accelerator() -> str:
    """See `Framework.accelerator`."""
    devices = keras.distribution.list_devices()
    return next((d for d in devices if not d.startswith("cpu")), "cpu")
