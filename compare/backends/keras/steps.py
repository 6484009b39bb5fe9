"""One training step of a model: its own `train_step` if it has one, else what Keras' does.

Copies of the model's optimizers take the step, and are watched for the gradients they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np

from compare.backends.keras.hooks import recording
from compare.backends.keras.preserve_state import shadow
from compare.backends.keras.structures import tensors
from compare.backends.keras.tensors import Tensor

_O = keras.optimizers
_SLOTS: dict[type, dict[str, str]] = {
    _O.SGD: {"momentums": "velocity"},
    _O.Adam: {
        "_momentums": "first_moment",
        "_velocities": "second_moment",
        "_velocity_hats": "max_second_moment",
    },
    _O.RMSprop: {
        "_velocities": "second_moment",
        "_momentums": "velocity",
        "_average_gradients": "average_gradient",
    },
}
"""Attribute of an optimizer → name of the slot. AdamW is an Adam."""


def optimizers_of(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """The optimizers that a model has as attributes: the compiled one, and others of its own."""
    found = {k: v for k, v in vars(model).items() if isinstance(v, keras.optimizers.Optimizer)}
    if getattr(model, "optimizer", None) is not None:
        found["optimizer"] = model.optimizer
    return found


def copied(
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
        for ours, theirs in zip(copy.variables, original.variables, strict=True):
            ours.assign(theirs)
    elif variables is not None:
        copy.build(variables)
    return copy


def slots(
    optimizer: keras.optimizers.Optimizer, tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str, np.ndarray]]:
    """What an optimizer remembers of every weight: `<layer>/<tensor>/<slot>` and an array.

    Args:
        optimizer: SGD, Adam, AdamW or RMSprop; others have slots that no one else knows.
        tensors: The weights by canonical name.
    """
    names = {id(tensor.variable): name for name, tensor in tensors.items()}
    known: dict[str, str] = next(
        (found for kind, found in _SLOTS.items() if isinstance(optimizer, kind)), {}
    )
    for attribute, slot in known.items():
        held: list[Any] = getattr(optimizer, attribute, None) or []
        for value, variable in zip(held, optimizer._trainable_variables, strict=bool(held)):
            name = names.get(id(variable))
            if name is not None and value is not None:
                yield f"{name}/{slot}", tensors[name].canonical(value)


Note = Callable[[str, Any], None]
OnGradient = Callable[[keras.Variable, Any], None]


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
        ValueError: An optimizer cannot be copied, or there is none.
    """

    def __init__(self, model: keras.Model, *, jit_compile: bool = False) -> None:
        self._model, self._own = model, has_own_step(model)
        originals = optimizers_of(model)
        if not originals:
            raise ValueError(f"{model.name} is not compiled: call compile(optimizer=…, loss=…)")
        self._copies = {
            name: copied(o, model.trainable_variables if name == "optimizer" else None)
            for name, o in originals.items()
        }
        self._used: set[str] = set()
        self._jit = jit_compile and not self._own
        self._plain: Callable[..., Any] | None = None

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
        on_gradient: OnGradient = lambda variable, gradient: None,
    ) -> tuple[Any, list[str]]:
        """Take a step.

        Args:
            x: Samples, as arrays.
            y: Targets, as arrays.
            note: Receives what passes through the layers; None to record nothing.
            back: Receives the gradients of that.
            on_gradient: Called with a variable and its gradient, before the optimizer uses it.

        Returns:
            The loss, and the names of the layers in the order in which they ran.
        """
        if self._jit:
            return self._compiled(x, y, note, back, on_gradient)
        model, data = self._model, (tensors(x), tensors(y))
        with ExitStack() as stack:
            order: list[str] = []
            if note is not None:
                order = stack.enter_context(recording(model, note, back))
            for name, copy in self._copies.items():
                shadow(stack, model, name, copy)
            self._watch(stack, on_gradient)
            loss = self._own_step(data) if self._own else self._usual_step(*data)
        return loss, order

    def _own_step(self, data: tuple[Any, Any]) -> Any:
        with _differentiated() as targets:
            self._model.train_step(data)
        if not targets:
            raise ValueError(
                f"the train_step of {type(self._model).__name__} gives no loss to compare: it "
                "differentiates none with tf.GradientTape"
            )
        return targets[0]

    def _usual_step(self, x: Any, y: Any) -> Any:
        loss, gradients = _loss_and_gradients(self._model, x, y)
        self._apply(gradients)
        return loss

    def _apply(self, gradients: Sequence[Any]) -> None:
        variables = self._model.trainable_variables
        if variables:
            optimizer = self._copies["optimizer"]
            optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def _watch(self, stack: ExitStack, on_gradient: OnGradient) -> None:
        for name, copy in self._copies.items():
            shadow(stack, copy, "apply", self._watched(name, copy.apply, on_gradient))

    def _watched(
        self, name: str, apply: Callable[..., Any], on_gradient: OnGradient
    ) -> Callable[..., Any]:
        def watched(grads: Sequence[Any], trainable_variables: Any = None) -> Any:
            self._used.add(name)
            given = trainable_variables
            if given is None:
                given = self._copies[name]._trainable_variables
            grads, given = list(grads), list(given)
            for variable, gradient in zip(given, grads, strict=False):
                if gradient is not None:
                    on_gradient(variable, gradient)
            return apply(grads, None if trainable_variables is None else given)

        return watched

    def _compiled(
        self, x: Any, y: Any, note: Note | None, back: Note | None, on_gradient: OnGradient
    ) -> tuple[Any, list[str]]:
        import tensorflow as tf

        model, order = self._model, []

        def recorded(x: Any, y: Any) -> Any:
            passed: dict[str, Any] = {}
            returned: dict[str, Any] = {}
            with recording(model, passed.__setitem__, returned.__setitem__) as ran:
                loss, gradients = _loss_and_gradients(model, x, y)
            order[:] = ran
            return loss, gradients, passed, returned

        if note is not None:
            run = tf.function(recorded, jit_compile=True)
            loss, gradients, passed, returned = run(tensors(x), tensors(y))
            for name, value in passed.items():
                note(name, value)
            for name, value in returned.items():
                (back or note)(name, value)
        else:
            self._plain = self._plain or tf.function(
                lambda x, y: _loss_and_gradients(model, x, y), jit_compile=True
            )
            loss, gradients = self._plain(tensors(x), tensors(y))
        with ExitStack() as stack:
            self._watch(stack, on_gradient)
            self._apply(gradients)
        return loss, order


def _loss_and_gradients(model: keras.Model, x: Any, y: Any) -> tuple[Any, list[Any]]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        output = forward(model, x, training=True)
        loss = model._compute_loss(x=x, y=y, y_pred=output, training=True)
    return loss, tape.gradient(loss, model.trainable_variables)


@contextmanager
def _differentiated() -> Iterator[list[Any]]:
    """The numbers whose gradients are taken while the block runs.

    Whatever a step calls its loss, and whatever it adds to it, is what it differentiates.
    """
    import tensorflow as tf

    original, targets = tf.GradientTape.gradient, []

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
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
