"""One training step of a model: its own `train_step` if it has one, else what Keras' does.

Copies of the model's optimizers take the step, and are watched for the gradients they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import tensorflow as tf

from compare.backends.keras.hooks import Note, recording
from compare.backends.keras.preserve_state import shadow
from compare.backends.keras.structures import as_tensors

_O = keras.optimizers


def optimizers_of(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """The optimizers that a model has as attributes: the compiled one, and others of its own."""
    optimizers = {k: v for k, v in vars(model).items() if isinstance(v, _O.Optimizer)}
    if getattr(model, "optimizer", None) is not None:
        optimizers["optimizer"] = model.optimizer
    return optimizers


def _copied(
    original: keras.optimizers.Optimizer, variables: list[keras.Variable] | None
) -> keras.optimizers.Optimizer:
    """An optimizer as another one stands: its settings, its iteration, its slots.

    Args:
        original: It is left alone.
        variables: What it will train, if it has not trained yet; None to leave that to the steps.

    Raises:
        ValueError: It keeps averages of weights, scales the loss or cannot be copied.
    """
    kind = type(original).__name__
    if original.use_ema:
        raise ValueError(
            f"the optimizer {kind} keeps a moving average of the weights (use_ema=True), which has "
            "no counterpart in Torch: compile without it to compare"
        )
    if original.loss_scale_factor is not None or isinstance(original, _O.LossScaleOptimizer):
        raise ValueError(f"the optimizer {kind} scales the loss: compile without that to compare")
    config = original.get_config()
    if isinstance(config.get("learning_rate"), dict):
        # A schedule remembers nothing: it need not be one that Keras could load.
        config["learning_rate"] = original._learning_rate
    try:
        copy = type(original).from_config(config)
    except Exception as error:
        raise ValueError(f"the optimizer {kind} cannot be copied: {error}") from error
    if original.built:
        copy.build(original._trainable_variables)
        for variable, value in zip(copy.variables, original.variables, strict=True):
            variable.assign(value)
    elif variables is not None:
        copy.build(variables)
    return copy


OnGradients = Callable[[keras.optimizers.Optimizer, Sequence[keras.Variable], Sequence[Any]], None]
"""Called with an optimizer about to step, its variables, and their gradients."""


def has_own_step(model: keras.Model) -> bool:
    """Whether a model overrides `train_step`."""
    return type(model).train_step is not keras.Model.train_step or "train_step" in vars(model)


def forward(model: keras.Model, x: Any, *, training: bool) -> Any:
    """The model's output on tensors."""
    return model(x, training=training) if model._call_has_training_arg else model(x)


class Training:
    """Trains a model step by step with copies of its optimizers.

    Args:
        model: A compiled model.
        jit_compile: Whether XLA compiles forward and backward pass; not of a `train_step` of the
            model's own, which runs as it is.

    Raises:
        ValueError: An optimizer cannot be copied.
    """

    def __init__(self, model: keras.Model, *, jit_compile: bool = False) -> None:
        self._model = model
        self._copies = {
            name: _copied(o, model.trainable_variables if name == "optimizer" else None)
            for name, o in optimizers_of(model).items()
        }
        self._used: set[str] = set()
        self._own = has_own_step(model)
        self._jit = jit_compile and not self._own
        self._compiled = tf.function(self._loss_and_gradients, jit_compile=True)

    @property
    def optimizers(self) -> Sequence[keras.optimizers.Optimizer]:
        """The copies that took part in steps so far: a compiled one may never be asked."""
        return [copy for name, copy in self._copies.items() if name in self._used]

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
        with ExitStack() as stack:
            for name, copy in self._copies.items():
                shadow(stack, copy, "apply", self._watched(name, on_gradients))
            if self._jit and note is not None:
                passes, order = recorded(self._model, self._loss_and_gradients, (x, y), note, back)
                loss = self._apply(*passes)
            elif self._jit:
                loss = self._apply(*self._compiled(x, y))
            else:
                if note is not None:
                    order = stack.enter_context(recording(self._model, note, back))
                for name, copy in self._copies.items():
                    shadow(stack, self._model, name, copy)
                if self._own:
                    loss = self._own_step(x, y)
                else:
                    loss = self._apply(*self._loss_and_gradients(x, y))
        return loss, order

    def _loss_and_gradients(self, x: Any, y: Any) -> tuple[Any, list[Any]]:
        model = self._model
        with tf.GradientTape() as tape:
            output = forward(model, x, training=True)
            loss = model._compute_loss(x=x, y=y, y_pred=output, training=True)
        return loss, tape.gradient(loss, model.trainable_variables)

    def _apply(self, loss: Any, gradients: Sequence[Any]) -> Any:
        variables = self._model.trainable_variables
        if variables:
            optimizer = self._copies["optimizer"]
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    def _own_step(self, x: Any, y: Any) -> Any:
        with _differentiated() as targets:
            self._model.train_step((x, y))
        if not targets:
            raise ValueError(
                f"the train_step of {type(self._model).__name__} gives no loss to compare: it "
                "differentiates none with tf.GradientTape"
            )
        return targets[0]

    def _watched(self, name: str, on_gradients: OnGradients) -> Callable[..., Any]:
        copy = self._copies[name]
        apply = copy.apply

        def watched(grads: Sequence[Any], trainable_variables: Any = None) -> Any:
            self._used.add(name)
            variables = trainable_variables
            if variables is None:
                variables = copy._trainable_variables
            grads, variables = list(grads), list(variables)
            on_gradients(copy, variables, grads)
            return apply(grads, None if trainable_variables is None else variables)

        return watched


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
