"""What any Keras model computes on the way: one trace of a few training steps.

A trace names arrays alike for every framework (see `compare.traces`): Keras' names and layouts are
the common ones, so little is converted here. The model is left as it was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from bn_keras import weights
from bn_keras.recording import recording

Sink = Callable[[str, np.ndarray], None]
Arrays = Any
"""A NumPy array."""

_KINDS = {
    keras.layers.Dense: "dense",
    keras.layers.Conv1D: "conv",
    keras.layers.Conv2D: "conv",
    keras.layers.Conv3D: "conv",
    keras.layers.LSTM: "lstm",
    keras.layers.BatchNormalization: "batch_norm",
}
_SLOTS = {
    "momentums": "velocity",
    "_momentums": "first_moment",
    "_velocities": "second_moment",
}
_STATISTICS = ("moving_mean", "moving_variance")


def trace(
    model: keras.Model,
    batches: Sequence[tuple[Arrays, Arrays]],
    sink: Sink,
    *,
    jit_compile: bool = False,
) -> list[dict[str, Any]]:
    """Record a training step per batch, and one evaluation.

    Args:
        model: A built and compiled model; its own loss and a copy of its own optimizer are used.
        batches: Samples and targets of every step, as `fit` would hand them over. Where the targets
            are None, nothing is trained: a forward pass in training mode is all.
        sink: Receives every array under its name.
        jit_compile: Whether XLA compiles the passes: the same computation, otherwise rounded.

    Returns:
        The weighted layers in the order in which they ran, each with `name`, `kind`, `tensors`
        (name → shape) and `trained` (number of trained values).

    Raises:
        ValueError: The model is not built or not compiled.
    """
    if getattr(model, "optimizer", None) is None and any(y is not None for _, y in batches):
        raise ValueError(f"{model.name} is not compiled: call compile(optimizer=…, loss=…)")
    with _as_found(model):
        return _trace(model, batches, sink, jit_compile)


def _trace(
    model: keras.Model, batches: Sequence[tuple[Arrays, Arrays]], sink: Sink, jit_compile: bool
) -> list[dict[str, Any]]:
    for name, array in weights.read_weights(model).items():
        sink(f"initial/{name}", array)
    if batches[0][1] is None:
        return _untrained(model, batches[0][0], sink)
    optimizer = _copy_of_optimizer(model)
    names = {id(v): name for name, v in weights.named_variables(model).items()}
    order: list[str] = []
    for step, (x, y) in enumerate(batches, start=1):
        sink(f"step/{step}/data/x", np.asarray(x))
        sink(f"step/{step}/data/y", np.asarray(y))
        loss, gradients, passed, returned = _backward(model, x, y, jit_compile=jit_compile)
        sink(f"step/{step}/loss", weights.to_numpy(loss))
        if step == 1:
            order = _forward(sink, "training", passed)
            for name, gradient in returned.items():
                sink(f"backward/{name}", weights.to_numpy(gradient))
            for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
                if gradient is not None:
                    sink(f"gradient/{names[id(variable)]}", weights.to_numpy(gradient))
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        _weights(sink, step, model)
        _slots(sink, step, optimizer, names)
    _evaluate(model, batches[0][0], sink, jit_compile=jit_compile)
    return _structure(model, order)


def _untrained(model: keras.Model, x: Arrays, sink: Sink) -> list[dict[str, Any]]:
    sink("step/1/data/x", np.asarray(x))
    with recording(model) as passed:
        model(keras.ops.convert_to_tensor(x), training=True)
    order = _forward(sink, "training", passed)
    _weights(sink, 1, model)
    _evaluate(model, x, sink)
    return _structure(model, order)


def _weights(sink: Sink, step: int, model: keras.Model) -> None:
    for name, array in weights.read_weights(model).items():
        group = "statistics" if name.endswith(_STATISTICS) else "weights"
        sink(f"step/{step}/{group}/{name}", array)


def evaluate(model: keras.Model, values: Mapping[str, np.ndarray], x: Arrays, sink: Sink) -> None:
    """Record one evaluation with other weights and statistics; the model is left as it was found.

    Args:
        model: A built model.
        values: Canonical name → tensor; what is not named stays as it is.
        x: Samples.
        sink: Receives `evaluation/…`.
    """
    with _as_found(model):
        variables = weights.named_variables(model)
        for name, value in values.items():
            variables[name].assign(value)
        _evaluate(model, x, sink)


def _backward(
    model: keras.Model, x: Arrays, y: Arrays, *, jit_compile: bool
) -> tuple[Any, list[Any], dict[str, tuple[Any, Any]], dict[str, Any]]:
    """Loss, gradients of weights, what went into and came out of every layer, gradients of that."""
    import tensorflow as tf

    def step(x: Any, y: Any) -> tuple[Any, list[Any], dict[str, Any], dict[str, Any]]:
        with recording(model) as passed, tf.GradientTape() as tape:
            output = model(x, training=True)
            loss = model.compute_loss(x=x, y=y, y_pred=output, training=True)
        ends = {
            f"{name}/{end}": t
            for name, pair in passed.items()
            for end, t in zip(("input", "output"), pair, strict=True)
        }
        ends = {key: t for key, t in ends.items() if t.dtype.is_floating}
        ours, theirs = tape.gradient(loss, (model.trainable_variables, ends))
        returned = {key: gradient for key, gradient in theirs.items() if gradient is not None}
        return loss, ours, dict(passed), returned

    return _compiled(step, jit_compile)(*map(keras.ops.convert_to_tensor, (x, y)))


def _evaluate(model: keras.Model, x: Arrays, sink: Sink, *, jit_compile: bool = False) -> None:
    def evaluation(x: Any) -> tuple[Any, dict[str, tuple[Any, Any]]]:
        with recording(model) as passed:
            output = model(x, training=False)
        return output, dict(passed)

    output, passed = _compiled(evaluation, jit_compile)(keras.ops.convert_to_tensor(x))
    _forward(sink, "evaluation", passed)
    sink("evaluation/output", weights.to_numpy(output))


def _compiled(function: Callable[..., Any], jit_compile: bool) -> Callable[..., Any]:
    import tensorflow as tf

    return tf.function(function, jit_compile=True) if jit_compile else function


def _forward(sink: Sink, mode: str, passed: dict[str, tuple[Any, Any]]) -> list[str]:
    for name, (entered, left) in passed.items():
        sink(f"{mode}/{name}/input", weights.to_numpy(entered))
        sink(f"{mode}/{name}/output", weights.to_numpy(left))
    return list(passed)


def _slots(
    sink: Sink, step: int, optimizer: keras.optimizers.Optimizer, names: dict[int, str]
) -> None:
    for attribute, slot in _SLOTS.items():
        variables = getattr(optimizer, attribute, None) or []
        for slot_variable, variable in zip(
            variables, optimizer._trainable_variables, strict=bool(variables)
        ):
            value = weights.to_numpy(slot_variable)
            sink(f"step/{step}/slots/{names[id(variable)]}/{slot}", value)


def _copy_of_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """The model's optimizer as it stands, so that the steps leave the original alone."""
    original = model.optimizer
    copy = type(original).from_config(original.get_config())
    copy.build(model.trainable_variables)
    if original.built:
        for ours, theirs in zip(copy.variables, original.variables, strict=True):
            ours.assign(theirs)
    return copy


@contextmanager
def _as_found(model: keras.Model) -> Iterator[None]:
    """Put back every variable: weights, statistics, metrics, states of random generators."""
    kept = [(v, weights.to_numpy(v)) for v in model.variables]
    try:
        yield
    finally:
        for variable, value in kept:
            variable.assign(value)


def _structure(model: keras.Model, order: Sequence[str]) -> list[dict[str, Any]]:
    layers = weights.weighted_layers(model)
    ran = [name for name in order if name in layers]
    found = []
    for name in [*ran, *(n for n in layers if n not in ran)]:
        layer = layers[name]
        variables = weights.layer_variables(layer)
        trained = {id(v) for v in layer.trainable_variables}
        found.append(
            {
                "name": name,
                "kind": _KINDS.get(type(layer), type(layer).__name__),
                "tensors": {key: list(v.shape) for key, v in variables.items()},
                "trained": sum(
                    int(np.prod(v.shape)) for v in variables.values() if id(v) in trained
                ),
            }
        )
    return found
