"""What any Keras model computes on the way: one trace of a few training steps.

A trace names arrays alike for every framework (see `compare.trace`): Keras' names and layouts are
the common ones, so little is converted here. The model is left as it was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import keras
import numpy as np

from compare.backends.keras import settings, steps, structures, weights
from compare.backends.keras.hooks import recording
from compare.backends.keras.preserve_state import as_found
from compare.backends.keras.steps import optimizers_of, slots
from compare.backends.keras.structures import Arrays
from compare.backends.keras.tensors import to_numpy

Sink = Callable[[str, np.ndarray], None]

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
        model: A built and compiled model; its own `train_step` or loss, and copies of its own
            optimizers are used.
        batches: Samples and targets of every step, as `fit` would hand them over: arrays, or
            tuples, lists or dictionaries of them. Where the targets are None, nothing is trained: a
            forward pass in training mode is all.
        sink: Receives every array under its name, as soon as it is known. If it has a method
            `alias(new, old)`, it is told so where a layer receives what was just written.
        jit_compile: Whether XLA compiles the passes: the same computation, otherwise rounded.

    Returns:
        The weighted layers in the order in which they ran; see `describe`.

    Raises:
        TypeError: There are weights that no rule knows.
        ValueError: The model is not built or not compiled, or raises.
    """
    trained = batches[0][1] is not None
    if trained and not optimizers_of(model):
        raise ValueError(f"{model.name} is not compiled: call compile(optimizer=…, loss=…)")
    weights.weighted_layers(model)
    for x, _ in batches:
        structures.check(model, x)
    run = _trained if trained else _untrained
    # A model's own step runs as it is: XLA could not hand over what its optimizers are given.
    own = steps.has_own_step(model)
    jit_compile = not own and (jit_compile or (trained and _needs_compiling(model)))
    with as_found(model), _raising(), nullcontext() if jit_compile else steps.eagerly():
        for name, array in weights.read_weights(model).items():
            sink(f"initial/{name}", array)
        order = run(model, batches, sink, jit_compile)
        _evaluate(model, batches[0][0], sink, jit_compile=jit_compile)
        return _structure(model, order)


def _needs_compiling(model: keras.Model) -> bool:
    """TensorFlow takes gradients of grouped convolutions on a CPU through XLA alone."""
    kinds = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
    return any(isinstance(part, kinds) and part.groups > 1 for part in model._flatten_layers())


def _trained(
    model: keras.Model, batches: Sequence[tuple[Arrays, Arrays]], sink: Sink, jit_compile: bool
) -> list[str]:
    training = steps.Training(model, jit_compile=jit_compile)
    tensors = weights.named_tensors(model)
    names = {id(tensor.variable): name for name, tensor in tensors.items()}
    written: set[str] = set()

    def on_gradient(variable: keras.Variable, gradient: Any) -> None:
        name = names.get(id(variable))
        if name is not None and name not in written:
            written.add(name)
            sink(f"gradient/{name}", tensors[name].canonical(gradient))

    order: list[str] = []
    for step, (x, y) in enumerate(batches, start=1):
        _data(sink, step, x=x, y=y)
        if step == 1:
            note, back = _writing(sink, "training"), _writing(sink, "backward")
            loss, order = training.step(x, y, note=note, back=back, on_gradient=on_gradient)
        else:
            loss, _ = training.step(x, y)
        sink(f"step/{step}/loss", to_numpy(loss))
        _weights(sink, step, model)
        for optimizer in training.optimizers:
            for name, array in slots(optimizer, tensors):
                sink(f"step/{step}/slots/{name}", array)
    return order


def _untrained(
    model: keras.Model, batches: Sequence[tuple[Arrays, Arrays]], sink: Sink, jit_compile: bool
) -> list[str]:
    x = batches[0][0]
    _data(sink, 1, x=x)
    with recording(model, _writing(sink, "training")) as order:
        output = steps.forward(model, structures.tensors(x), training=True)
    for path, leaf in structures.leaves(output):
        sink(f"step/1/prediction{path}", to_numpy(leaf))
    _weights(sink, 1, model)
    return order


def _data(sink: Sink, step: int, **parts: Arrays) -> None:
    for part, arrays in parts.items():
        for path, array in structures.leaves(arrays):
            sink(f"step/{step}/data/{part}{path}", np.asarray(array))


def _weights(sink: Sink, step: int, model: keras.Model) -> None:
    for name, array in weights.read_weights(model).items():
        group = "statistics" if name.endswith(_STATISTICS) else "weights"
        sink(f"step/{step}/{group}/{name}", array)


def _writing(sink: Sink, prefix: str) -> Callable[[str, Any], None]:
    """What hands a value to the sink at once, or says that it was just written."""
    alias = getattr(sink, "alias", None)
    last: list[Any] = [None, ""]

    def note(name: str, value: Any) -> None:
        if alias is not None and value is last[0] and "/input" in name:
            alias(f"{prefix}/{name}", f"{prefix}/{last[1]}")
            return
        sink(f"{prefix}/{name}", to_numpy(value))
        if name.endswith("/output"):
            last[:] = value, name

    return note


def evaluate(model: keras.Model, values: Mapping[str, np.ndarray], x: Arrays, sink: Sink) -> None:
    """Record one evaluation with other weights and statistics; the model is left as it was found.

    Args:
        model: A built model.
        values: Canonical name → tensor; what is not named stays as it is.
        x: Samples.
        sink: Receives `evaluation/…`.
    """
    with as_found(model), steps.eagerly():
        tensors = weights.named_tensors(model)
        for name, value in values.items():
            tensors[name].assign(value)
        _evaluate(model, x, sink)


def _evaluate(model: keras.Model, x: Arrays, sink: Sink, *, jit_compile: bool = False) -> None:
    note = _writing(sink, "evaluation")
    if jit_compile:
        output, passed = _compiled_evaluation(model, structures.tensors(x))
        for name, value in passed.items():
            note(name, value)
    else:
        with recording(model, note):
            output = steps.forward(model, structures.tensors(x), training=False)
    for path, leaf in structures.leaves(output):
        sink(f"prediction{path}", to_numpy(leaf))


def _compiled_evaluation(model: keras.Model, x: Any) -> tuple[Any, dict[str, Any]]:
    import tensorflow as tf

    def evaluation(x: Any) -> tuple[Any, dict[str, Any]]:
        passed: dict[str, Any] = {}
        with recording(model, passed.__setitem__):
            output = steps.forward(model, x, training=False)
        return output, passed

    return tf.function(evaluation, jit_compile=True)(x)


def describe(model: keras.Model, x: Arrays) -> list[dict[str, Any]]:
    """The weighted layers of a model, in the order in which they run in inference mode.

    Args:
        model: A built model; it is left as it was found.
        x: One or two samples.

    Returns:
        For every layer `name`, `kind`, `tensors` (name → shape), `trained` (number of trained
        values) and `settings`; those that did not run come last.

    Raises:
        TypeError: There are weights that no rule knows.
        ValueError: The model is not built, takes other inputs, or raises.
    """
    weights.weighted_layers(model)
    structures.check(model, x)
    with as_found(model), _raising(), steps.eagerly():
        with recording(model, lambda name, value: None) as order:
            steps.forward(model, structures.tensors(x), training=False)
        return _structure(model, order)


@contextmanager
def _raising() -> Iterator[None]:
    """What a model raises is a message: one line, without what Keras puts around it."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        # The text of a KeyError is that of its argument, quoted.
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        text = re.sub(r"\x1b\[\d+m", "", text)
        if text.startswith("Exception encountered when calling"):
            text = text.split("\n\n")[1]
        text = " ".join(text.split())
        ours = type(error) is ValueError and (error.__traceback__ is None or _ours(error))
        raise ValueError(text if ours else f"{type(error).__name__}: {text}") from error


def _ours(error: BaseException) -> bool:
    """Whether this package raised an error itself: its message is complete."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_globals.get("__package__") == "bn_keras"


def _structure(model: keras.Model, order: Sequence[str]) -> list[dict[str, Any]]:
    found = {
        name: {
            "name": name,
            "kind": part.kind,
            "tensors": {key: list(tensor.shape) for key, tensor in part.tensors.items()},
            "trained": _trained_values(weighted.layer, part),
            "settings": settings.of_part(weighted.layer, name, part),
        }
        for weighted in weights.weighted_layers(model)
        for name, part in weighted.parts.items()
    }
    return [found[name] for name in dict.fromkeys([*(n for n in order if n in found), *found])]


def _trained_values(layer: keras.Layer, part: weights.Part) -> int:
    trained = {id(variable) for variable in layer.trainable_variables}
    sizes = [np.prod(t.shape) for t in part.tensors.values() if id(t.variable) in trained]
    return int(sum(sizes))


def repeats(model: keras.Model, x: Arrays) -> bool:
    """Whether two forward passes from the same state return the same in training mode, to the bit.

    Args:
        model: A built model; it is left as it was found.
        x: Samples.
    """
    with as_found(model), steps.eagerly():
        outputs = []
        for _ in range(2):
            # What a stateful layer keeps is no random number.
            with as_found(model, generators=False):
                outputs.append(steps.forward(model, structures.tensors(x), training=True))
        one, other = ([to_numpy(leaf) for _, leaf in structures.leaves(o)] for o in outputs)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))
