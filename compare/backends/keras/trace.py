"""What any Keras model computes on the way: one trace of a few training steps.

A trace names arrays alike for every framework (see `compare.trace`): Keras' names and layouts are
the common ones, so little is converted here. The model is left as it was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
from keras.optimizers import Optimizer

from compare.backends.keras import settings, steps, weights
from compare.backends.keras.hooks import Note, recording
from compare.backends.keras.optimizers import (
    Optimizers,
    averages,
    kept,
    optimizers_of,
)
from compare.backends.keras.preserve_state import as_found
from compare.backends.keras.rules import Part, Tensor
from compare.backends.keras.slots import Updates, slot_attributes, slots
from compare.backends.keras.structures import as_tensors, check, to_numpy
from compare.backends.protocol import Batches, Sink, Start
from compare.backends.structures import Structure, leaves, without_weights
from compare.data import Array
from compare.trace import Layer

_STATISTICS = ("moving_mean", "moving_variance")


def trace(
    model: keras.Model,
    batches: Batches,
    sink: Sink,
    *,
    start: Start | None = None,
    jit_compile: bool = False,
) -> list[Layer]:
    """See `KerasFramework.trace`."""
    x, y = batches[0]
    trained = y is not None
    if trained and not optimizers_of(model):
        raise ValueError(f"{model.name} is not compiled: call compile(optimizer=…, loss=…)")
    weights.weighted_layers(model)
    for samples, targets in batches:
        check(model, samples)
        if trained and not steps.has_own_step(model):
            _check_targets(model, targets)
    jit_compile = not steps.has_own_step(model) and jit_compile
    compiled = jit_compile or (trained and steps.needs_compiling(model))
    with as_found(model), raising():
        for name, array in weights.read_weights(model).items():
            sink(f"initial/{name}", array)

        def begin(step: int, order: Sequence[str]) -> None:
            if start is not None:
                weights.write_some(model, start(step, _layers(model, order)))

        begin(1, ())
        with _either(compiled):
            if trained:
                order = _train(model, batches, sink, begin, compiled)
            else:
                _write_all(sink, "step/1/data/x", x)
                order = _run(model, x, sink, "training", prediction="step/1/prediction")
                _write_weights(sink, 1, model)
        begin(len(batches) + 1, order)
        with _either(jit_compile):
            _run(model, x, sink, "evaluation", jit_compile=jit_compile)
        return _layers(model, order)


def _check_targets(model: keras.Model, y: Structure) -> None:
    outputs = getattr(model, "outputs", None)
    arrays = sum(leaf is not None for _, leaf in leaves(without_weights(y)))
    if outputs and arrays > len(outputs):
        raise ValueError(
            f"y: received {arrays} arrays, of a model with {len(outputs)} "
            f"output{'s' * (len(outputs) > 1)}; the weights of samples are no part of y: pass "
            "sample_weight=…"
        )


def _either(compiled: bool) -> AbstractContextManager[None]:
    """A block that runs compiled, or eagerly."""
    return nullcontext() if compiled else steps.eagerly()


def _train(
    model: keras.Model,
    batches: Batches,
    sink: Sink,
    begin: Callable[[int, Sequence[str]], None],
    jit_compile: bool,
) -> list[str]:
    """Record the steps; return the names of the layers in the order of the first."""
    training = steps.Training(model, jit_compile=jit_compile)
    tensors = weights.named_tensors(model)
    for optimizer in training.optimizers.built():
        _write_slots(sink, 0, optimizer, tensors)
    order: list[str] = []
    for step, (x, y) in enumerate(batches, start=1):
        _write_all(sink, f"step/{step}/data/x", x)
        _write_all(sink, f"step/{step}/data/y", without_weights(y))
        updates = Updates(step, tensors, sink)
        if step == 1:
            note, back = _writing(sink, "training"), _writing(sink, "backward")
            loss, order = training.step(x, y, note=note, back=back, on_gradients=updates)
        else:
            begin(step, order)
            loss, _ = training.step(x, y, on_gradients=updates)
        updates.close()
        sink(f"step/{step}/loss", to_numpy(loss))
        write_step(sink, step, model, training.optimizers)
    return order


def write_step(sink: Sink, step: int, model: keras.Model, optimizers: Optimizers) -> None:
    """Hand over what a step leaves: weights, statistics, slots, and what else optimizers keep."""
    tensors = weights.named_tensors(model)
    _write_weights(sink, step, model)
    for optimizer in optimizers.stepped():
        _write_slots(sink, step, optimizer, tensors)
        if step == 1:
            for name, array in kept(optimizer, tensors, beside=slot_attributes(optimizer)):
                sink(f"step/1/optimizer/{name}", array)


def _write_slots(
    sink: Sink, step: int, optimizer: Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    for name, array in slots(optimizer, tensors):
        sink(f"step/{step}/slots/{name}", array)
    for name, array in averages(optimizer, tensors):
        sink(f"step/{step}/slots/{name}/average", array)


def _run(
    model: keras.Model,
    x: Structure,
    sink: Sink,
    mode: str,
    *,
    prediction: str = "prediction",
    jit_compile: bool = False,
) -> list[str]:
    """Record a forward pass; return the names of the layers in the order in which they ran.

    Args:
        model: A built model.
        x: Samples.
        sink: Receives what passes through the layers as `<mode>/…`.
        mode: `"training"` or `"evaluation"`.
        prediction: Under which name the sink receives the output.
        jit_compile: Whether XLA compiles it.
    """
    note = _writing(sink, mode)

    def run(tensors: Any) -> Any:
        return steps.forward(model, tensors, training=mode == "training")

    if jit_compile:
        output, order = steps.Recorded(model, run)(as_tensors(x), note=note)
    else:
        with recording(model, note) as order:
            output = run(as_tensors(x))
    _write_all(sink, prediction, output)
    return order


def _write_all(sink: Sink, name: str, structure: Structure) -> None:
    for path, value in leaves(structure, name):
        sink(path, to_numpy(value))


def _write_weights(sink: Sink, step: int, model: keras.Model) -> None:
    for name, array in weights.read_weights(model).items():
        group = "statistics" if name.endswith(_STATISTICS) else "weights"
        sink(f"step/{step}/{group}/{name}", array)


def _writing(sink: Sink, prefix: str) -> Note:
    """What hands a value to the sink at once, or says that it was just written."""
    alias = getattr(sink, "alias", None)
    last_value: Any = None
    last_name = ""

    def note(name: str, value: Any) -> None:
        nonlocal last_value, last_name
        if alias is not None and value is last_value and "/input" in name:
            alias(f"{prefix}/{name}", f"{prefix}/{last_name}")
            return
        sink(f"{prefix}/{name}", to_numpy(value))
        if name.endswith("/output"):
            last_value, last_name = value, name

    return note


def describe(model: keras.Model, x: Structure) -> list[Layer]:
    """See `Framework.describe`."""
    weights.weighted_layers(model)
    check(model, x)
    with as_found(model), raising(), steps.eagerly():
        with recording(model, lambda name, value: None) as order:
            steps.forward(model, as_tensors(x), training=False)
        return _layers(model, order)


def _layers(model: keras.Model, order: Sequence[str]) -> list[Layer]:
    layers: dict[str, Layer] = {
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
    return [layers[n] for n in dict.fromkeys([*(n for n in order if n in layers), *layers])]


def _trained_values(layer: keras.Layer, part: Part) -> int:
    trained = {id(variable) for variable in layer.trainable_variables}
    sizes = [np.prod(t.shape) for t in part.tensors.values() if id(t.variable) in trained]
    return int(sum(sizes))


@contextmanager
def raising() -> Iterator[None]:
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
        complete = type(error) is ValueError and _raised_here(error)
        raise ValueError(text if complete else f"{type(error).__name__}: {text}") from error


def _raised_here(error: BaseException) -> bool:
    """Whether this package raised an error itself: its message is complete."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is None or last.tb_frame.f_globals.get("__package__") == __package__


def repeats(model: keras.Model, x: Structure) -> bool:
    """See `Framework.repeats`."""
    with as_found(model), steps.eagerly():
        outputs: list[list[Array]] = []
        for _ in range(2):
            # What a stateful layer keeps is no random number.
            with as_found(model, generators=False):
                output = steps.forward(model, as_tensors(x), training=True)
                outputs.append([to_numpy(leaf) for _, leaf in leaves(output)])
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(*outputs, strict=True))
