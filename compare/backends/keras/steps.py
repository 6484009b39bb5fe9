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
from compare.backends.structures import as_batch


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
        self._recorded = Recorded(model, self._loss_and_gradients, trained=True)

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
            if self._jit:
                passes, order = self._recorded(x, y, note=note, back=unscaled)
                loss = self._apply(*passes)
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
            samples, targets, *given = as_batch(x, y)
            weights = given[0] if given else None
            loss = model._compute_loss(samples, targets, output, weights, training=True)
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
                self._model.train_step(as_batch(x, y))
        # What the optimizer was asked to scale is not scaled yet.
        if not (targets := losses.unscaled or targets):
            raise ValueError(
                f"the train_step of {type(self._model).__name__} gives no loss to compare: it "
                "differentiates none with tf.GradientTape"
            )
        return targets[0]


class Recorded:
    """Runs a model compiled by XLA, once for all calls; what passes is noted after it has run.

    Args:
        model: A built model.
        function: What runs it, a function of tensors.
        trained: Whether it takes gradients.
    """

    def __init__(
        self, model: keras.Model, function: Callable[..., Any], *, trained: bool = False
    ) -> None:
        self._model, self._function, self._trained = model, function, trained
        self._order: list[str] = []
        self._compiled = tf.function(self._traced, jit_compile=True)

    def _traced(self, *tensors: Any) -> Any:
        passed: dict[str, Any] = {}
        returned: dict[str, Any] = {}
        keep = returned.__setitem__ if self._trained else None
        with recording(self._model, passed.__setitem__, keep) as names:
            output = self._function(*tensors)
        self._order = list(names)
        return output, passed, returned

    def __call__(
        self, *tensors: Any, note: Note | None, back: Note | None = None
    ) -> tuple[Any, list[str]]:
        """Run it.

        Args:
            tensors: The function's arguments.
            note: Receives what passes through the layers; None to note nothing.
            back: Receives the gradients of that.

        Returns:
            What the function returns, and the names of the layers in the order in which they ran.
        """
        output, passed, returned = self._compiled(*tensors)
        for sink, values in ((note, passed), (back, returned)):
            if sink is not None:
                for name, value in values.items():
                    sink(name, value)
        return output, self._order


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
