"""The random numbers of a model: asked for through `keras.random`, taken from elsewhere.

Layers and users' own code look up one module of the backend, whose functions are replaced while a
block runs. States of random generators are not touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from compare.backends.draws import Draw, Draws, Kind
from compare.backends.keras.preserve_state import shadow
from compare.backends.keras.structures import to_numpy
from compare.backends.reordering import Values

_random: Any = keras.src.backend.random

_UNSHARED = ("categorical", "randint", "truncated_normal", "shuffle", "gamma", "beta")
"""What Torch has no counterpart of, or draws in another way."""


@contextmanager
def shared(model: keras.Model, draws: Draws) -> Iterator[None]:
    """While the block runs, every draw of `keras.random` gets its numbers from `draws`.

    `draws.begin` says which step it is. What is drawn by `tf.random` itself is not seen. Recurrent
    dropout is off: Torch's layers have none, see `not_compared`.

    Args:
        model: A built model; it is left as it was found.
        draws: Gives the numbers, and records what was asked for.
    """
    asking = _Asking(draws)
    with ExitStack() as stack:
        for path, layer in _layers(model, ""):
            if vars(layer).get("recurrent_dropout"):
                shadow(stack, layer, "recurrent_dropout", 0.0)
                # Keras chooses with it: one mask per gate, which only that implementation uses.
                shadow(stack, layer, "implementation", 2)
                shadow(stack, layer, "dropout_mask_count", None)
            # The masks of a cell are drawn by the layer around it.
            draws_itself = layer._seed_generators or isinstance(layer, keras.layers.RNN)
            if layer is model or draws_itself or _is_own(layer):
                shadow(stack, layer, "call", asking.watched(layer, path))
        replaced = {
            "dropout": asking.dropout,
            "uniform": asking.uniform,
            "normal": asking.normal,
            "binomial": asking.binomial,
            **{name: asking.refusing(name) for name in _UNSHARED},
        }
        for name, function in replaced.items():
            stack.callback(setattr, _random, name, getattr(_random, name))
            setattr(_random, name, function)
        yield


_RATES = ("rate", "stddev", "dropout", "recurrent_dropout", "_dropout")


@contextmanager
def undropped(model: keras.Model) -> Iterator[None]:
    """See `Framework.undropped`; what draws otherwise goes on to."""
    with ExitStack() as stack:
        for _, layer in _layers(model, ""):
            # What the same names mean in a user's own layer is not known.
            for name in () if _is_own(layer) else _RATES:
                if type(getattr(layer, name, None)) is float:
                    shadow(stack, layer, name, 0.0)
        # Functions that a user's own code calls, beside what is set.
        stack.callback(setattr, _random, "dropout", _random.dropout)
        _random.dropout = lambda inputs, *args, **kwargs: inputs
        yield


def _layers(layer: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, layer
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        yield from _layers(inner, f"{path}/{inner.name}".removeprefix("/"))


def _is_own(layer: Any) -> bool:
    """Whether a user wrote it: it may draw without a generator of its own."""
    return not type(layer).__module__.startswith("keras.")


class _Running:
    """A layer that runs: what it received, and the places of what it drew."""

    def __init__(self, layer: Any, path: str, received: Any, *, training: bool) -> None:
        self.layer, self.path, self.received, self.training = layer, path, received, training
        self.places: list[int] = []


class _Asking:
    """Replaces the functions of Keras' backend that draw numbers."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._running: list[_Running] = []

    def watched(self, layer: Any, path: str) -> Callable[..., Any]:
        """A layer's `call`, known to run while it does."""
        call = layer.call

        @wraps(call)
        def watched(*args: Any, **kwargs: Any) -> Any:
            first = next(iter(keras.tree.flatten((args, kwargs))), None)
            training = bool(kwargs.get("training"))
            self._running.append(_Running(layer, path, first, training=training))
            try:
                output = call(*args, **kwargs)
                places = self._running[-1].places
                value = self._seen(next(iter(keras.tree.flatten(output)), None))
                if value is not None:
                    if not path:
                        self._draws.output(value)
                    for place in places:
                        self._draws.returned(place, value)
            finally:
                self._running.pop()
            return output

        return watched

    def _seen(self, value: Any) -> Values | None:
        """A value as an array, where it is looked at and known yet."""
        if not self._draws.observing or not isinstance(value, tf.Tensor):
            return None
        return to_numpy(value) if hasattr(value, "numpy") else None

    def _take(
        self,
        kind: Kind,
        shape: Any,
        *,
        falls_on: Any = None,
        rate: float | None = None,
        thresholded: bool = False,
    ) -> Values:
        running = self._running[-1] if self._running else None
        layer: Any = None if running is None else running.layer
        if falls_on is None and running is not None:
            falls_on = running.received
        if isinstance(layer, keras.layers.RNN) and running is not None and not running.training:
            return np.ones(shape)  # A recurrent layer makes masks in any mode, and uses none here.
        if isinstance(layer, keras.layers.AlphaDropout):
            rate, thresholded = layer.rate, True
        draw = Draw(
            kind,
            tuple(int(n) for n in shape),
            "" if running is None else running.path,
            "" if layer is None else type(layer).__name__,
            rate,
            thresholded,
        )
        if not tf.executing_eagerly():
            # What is compiled once draws once; what passes is recorded after it has run.
            self._draws.repeated, self._draws.after = True, None
        if type(layer).__module__.startswith("keras.src.layers.preprocessing"):
            self._draws.refuse(f"{draw.path} ({draw.part})")
        place, values = self._draws.take(draw, self._seen(falls_on))
        if running is not None:
            running.places.append(place)
        return values

    def dropout(self, inputs: Any, rate: Any, noise_shape: Any = None, seed: Any = None) -> Any:
        if rate in (0.0, 1.0):
            return tf.zeros_like(inputs) if rate else inputs
        wanted = [None] * len(inputs.shape) if noise_shape is None else noise_shape
        shape = [n if m is None else m for m, n in zip(wanted, inputs.shape, strict=True)]

        def sampler(shape: Any, dtype: Any) -> Any:
            values = self._take("uniform", shape, falls_on=inputs, rate=rate, thresholded=True)
            return tf.constant(values, dtype)

        return tf.nn.experimental.general_dropout(inputs, rate, sampler, shape)

    def uniform(
        self, shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: Any = None
    ) -> Any:
        dtype = dtype or keras.config.floatx()
        low, high = tf.cast(minval, dtype), tf.cast(maxval, dtype)
        return tf.constant(self._take("uniform", shape), dtype) * (high - low) + low

    def normal(
        self, shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None
    ) -> Any:
        dtype = dtype or keras.config.floatx()
        values = tf.constant(self._take("normal", shape), dtype)
        # As TensorFlow does: a cast would round them to float32.
        return values * tf.convert_to_tensor(stddev, dtype) + tf.convert_to_tensor(mean, dtype)

    def binomial(
        self, shape: Any, counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None
    ) -> Any:
        dtype = dtype or keras.config.floatx()
        share, times = to_numpy(probabilities), to_numpy(counts)
        rate = round(1.0 - float(share), 12) if share.ndim == 0 else None
        if math.prod(times.shape) != 1 or times.item() != 1:
            return self.refusing("binomial")()
        values = self._take("uniform", shape, rate=rate, thresholded=True)
        return tf.constant(values >= 1.0 - share, dtype)

    def refusing(self, name: str) -> Callable[..., Any]:
        """The function as it is; that it was called is noted."""
        original = getattr(_random, name)

        @wraps(original)
        def refused(*args: Any, **kwargs: Any) -> Any:
            running = self._running[-1] if self._running else None
            path = "the model" if running is None else running.path or "the model itself"
            self._draws.refuse(f"{path} (keras.random.{name})")
            return original(*args, **kwargs)

        return refused
