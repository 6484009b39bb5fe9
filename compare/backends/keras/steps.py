"""One training step of a model: its own `train_step`, by its own optimizers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from compare.backends.keras.hooks import Note, recording
from compare.backends.keras.optimizers import Losses, OnGradients, Optimizers
from compare.backends.keras.structures import as_tensors

_O = keras.optimizers


def has_own_step(model: keras.Model) -> bool:
    """Whether a model overrides `train_step`."""
    return type(model).train_step is not keras.Model.train_step or "train_step" in vars(model)


def needs_compiling(model: keras.Model) -> bool:
    """Whether it is trained through XLA: on a CPU TensorFlow differentiates groups in no other way.

    A model's own step runs as it is: XLA could not hand over what its optimizers are given.
    """
    kinds = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
    grouped = (p for p in model._flatten_layers() if isinstance(p, kinds) and p.groups > 1)
    return not has_own_step(model) and next(grouped, None) is not None


def forward(model: keras.Model, x: Any, *, training: bool) -> Any:
    """The model's output on tensors."""
    return model(x, training=training) if model._call_has_training_arg else model(x)


class Training:
    """Trains a model step by step with its own optimizers.

    The model and its optimizers are changed by it: see `preserve_state.as_found`.

    Args:
        model: A compiled model.
        jit_compile: Whether XLA compiles forward and backward pass; not of a `train_step` of the
            model's own, which runs as it is.

    Attributes:
        optimizers: What takes the steps.
    """

    def __init__(self, model: keras.Model, *, jit_compile: bool = False) -> None:
        self._model = model
        self.optimizers = Optimizers(model)
        self._jit = jit_compile and not has_own_step(model)
        self._compiled = tf.function(self._loss_and_gradients, jit_compile=True)

    def step(
        self,
        x: Any,
        y: Any,
        *,
        note: Note | None = None,
        back: Note | None = None,
        on_gradients: OnGradients = lambda optimizer, variables, gradients: None,
    ) -> tuple[Any, list[str]]:
        """Take a step.

        Args:
            x: Samples, as arrays.
            y: Targets, as arrays.
            note: Receives what passes through the layers; None to record nothing.
            back: Receives the gradients of that.
            on_gradients: Called before an optimizer uses gradients.

        Returns:
            The loss, and the names of the layers in the order in which they ran.
        """
        x, y = as_tensors(x), as_tensors(y)
        order: list[str] = []
        with self.optimizers.watched(on_gradients) as losses:
            unscaled = None if back is None else losses.unscaling(back)
            if self._jit and note is not None:
                passes, order = recorded(
                    self._model, self._loss_and_gradients, (x, y), note, unscaled
                )
                loss = self._apply(*passes)
            elif self._jit:
                loss = self._apply(*self._compiled(x, y))
            elif note is not None:
                with recording(self._model, note, unscaled) as order:
                    loss = self._own_step(x, y, losses)
            else:
                loss = self._own_step(x, y, losses)
        return loss, order

    def _loss_and_gradients(self, x: Any, y: Any) -> tuple[Any, list[Any]]:
        model = self._model
        with tf.GradientTape() as tape:
            output = forward(model, x, training=True)
            loss = model._compute_loss(x=x, y=y, y_pred=output, training=True)
            scaled = model.optimizer.scale_loss(loss)
        return loss, tape.gradient(scaled, model.trainable_variables)

    def _apply(self, loss: Any, gradients: Sequence[Any]) -> Any:
        variables = self._model.trainable_variables
        if variables:
            self._model.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    def _own_step(self, x: Any, y: Any, losses: Losses) -> Any:
        with warnings.catch_warnings():
            # Nothing is trained: the structure says so.
            warnings.filterwarnings("ignore", message=".*does not have any trainable weights")
            with _differentiated() as targets:
                self._model.train_step((x, y))
        # What the optimizer was asked to scale is not scaled yet.
        if not (targets := losses.unscaled or targets):
            raise ValueError(
                f"the train_step of {type(self._model).__name__} gives no loss to compare: it "
                "differentiates none with tf.GradientTape"
            )
        return targets[0]


def recorded(
    model: keras.Model,
    function: Callable[..., Any],
    tensors: Sequence[Any],
    note: Note,
    back: Note | None = None,
) -> tuple[Any, list[str]]:
    """Run a model compiled by XLA; what passes is noted after it has run.

    Args:
        model: A built model.
        function: What runs it, a function of the tensors.
        tensors: Its arguments.
        note: Receives what passes through the layers.
        back: Receives the gradients of that; None where none are taken.

    Returns:
        What the function returns, and the names of the layers in the order in which they ran.
    """
    order: list[str] = []

    def traced(*tensors: Any) -> Any:
        passed: dict[str, Any] = {}
        returned: dict[str, Any] = {}
        keep = None if back is None else returned.__setitem__
        with recording(model, passed.__setitem__, keep) as names:
            output = function(*tensors)
        order[:] = names
        return output, passed, returned

    output, passed, returned = tf.function(traced, jit_compile=True)(*tensors)
    for name, value in passed.items():
        note(name, value)
    for name, value in returned.items():
        (back or note)(name, value)
    return output, order


@contextmanager
def _differentiated() -> Iterator[list[Any]]:
    """The numbers whose gradients are taken while the block runs.

    Whatever a step calls its loss, and whatever it adds to it, is what it differentiates.
    """
    original = tf.GradientTape.gradient
    targets: list[Any] = []

    def gradient(tape: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(target, "shape", None) == ():
            targets.append(target)
        return original(tape, target, *args, **kwargs)

    tf.GradientTape.gradient = gradient
    try:
        yield targets
    finally:
        tf.GradientTape.gradient = original


@contextmanager
def eagerly() -> Iterator[None]:
    """Functions that a model compiled for itself run uncompiled: only then can values be seen."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
