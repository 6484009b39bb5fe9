"""What Keras' optimizers remember of every weight, and the rule by which they move it.

What a rule says is rounded to float32 is what Keras hands to `ops.cast`: TensorFlow takes a Python
float through float32 on its way to any dtype, but not a `np.float64`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.optimizers import Optimizer

from compare.backends.keras.optimizers import stepping
from compare.backends.keras.rules import Tensor
from compare.backends.keras.structures import to_numpy
from compare.backends.optimizer_rule import Rule
from compare.backends.protocol import Sink
from compare.data import Array

_O = keras.optimizers
_SLOTS: Mapping[type, Mapping[str, str]] = {
    _O.SGD: {"momentums": "velocity"},
    _O.Adam: {
        "_momentums": "first_moment",
        "_velocities": "second_moment",
        "_velocity_hats": "max_second_moment",
    },
    _O.Adamax: {"_m": "first_moment", "_u": "infinity_norm"},
    _O.Nadam: {"_momentums": "first_moment", "_velocities": "second_moment"},
    _O.RMSprop: {
        "_velocities": "second_moment",
        "_momentums": "velocity",
        "_average_gradients": "average_gradient",
    },
    _O.Adagrad: {"_accumulators": "accumulator"},
    _O.Adadelta: {
        "_accumulated_grads": "second_moment",
        "_accumulated_delta_vars": "squared_changes",
    },
    _O.Lion: {"_momentums": "first_moment"},
}
"""Attribute of an optimizer → name of the slot. AdamW is an Adam."""

_STATISTICS = ("moving_mean", "moving_variance")


def slot_attributes(optimizer: Optimizer) -> Mapping[str, str]:
    """Attribute of an optimizer → name of the slot that it lists, for every weight."""
    kind = _known(optimizer)
    return _SLOTS[kind] if kind else {}


def slots(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Array]]:
    """What an optimizer remembers of every weight: `<layer>/<tensor>/<slot>` and an array.

    Args:
        optimizer: One of those above, or a subclass; others have slots that no one else knows.
        tensors: The weights by canonical name.
    """
    names = {id(tensor.variable): name for name, tensor in tensors.items()}
    for attribute, slot in slot_attributes(optimizer).items():
        values: list[Any] = getattr(optimizer, attribute, None) or []
        for value, variable in zip(values, optimizer._trainable_variables, strict=bool(values)):
            name = names.get(id(variable))
            if name is not None and value is not None:
                yield f"{name}/{slot}", tensors[name].canonical(value)


class Updates:
    """Writes what every optimizer is about to do in one step: gradients, and the rules.

    Args:
        step: Its number, from 1.
        tensors: The weights by canonical name.
        sink: Receives the arrays.
    """

    def __init__(self, step: int, tensors: Mapping[str, Tensor], sink: Sink) -> None:
        self._step, self._tensors, self._sink = f"step/{step}", tensors, sink
        self._gradients = "gradient" if step == 1 else f"{self._step}/gradient"
        self._names = {id(tensor.variable): name for name, tensor in tensors.items()}
        self._moved: set[str] = set()

    def __call__(self, optimizer: Optimizer, variables: Any, gradients: Any) -> None:
        """Write one optimizer's part, before it takes the step; the first of a weight counts."""
        named = {
            name: gradient
            for variable, gradient in zip(variables, gradients, strict=False)
            if (name := self._names.get(id(variable))) is not None and gradient is not None
        }
        named = {name: g for name, g in named.items() if name not in self._moved}
        self._moved |= named.keys()
        for name, gradient in named.items():
            self._sink(f"{self._gradients}/{name}", self._tensors[name].canonical(gradient))
            if isinstance(gradient, tf.IndexedSlices):
                for part in ("rows", "values"):
                    value = to_numpy(getattr(gradient, "indices" if part == "rows" else part))
                    self._sink(f"{self._step}/occurrences/{name}/{part}", value)
        movers = stepping(optimizer)
        for mover in movers:
            own = {id(variable) for variable in mover._trainable_variables}
            its = {n for n in named if len(movers) == 1 or id(self._tensors[n].variable) in own}
            for name, text in rules(mover, {n: named[n] for n in its}, self._tensors):
                self._sink(f"{self._step}/rule/{name}", np.array(text))

    def close(self) -> None:
        """Say of every other weight that nothing moved it."""
        for name in self._tensors:
            if name not in self._moved and not name.endswith(_STATISTICS):
                self._sink(f"{self._step}/rule/{name}", np.array(Rule(kind="none").text()))


def rules(
    optimizer: Optimizer, gradients: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str, str]]:
    """The rule by which an optimizer is about to move every weight: `<layer>/<tensor>` and JSON.

    Args:
        optimizer: Before the step; of other kinds than those above nothing is known.
        gradients: Canonical name → gradient, of the weights that it is about to move.
        tensors: The weights by canonical name.
    """
    kind = _known(optimizer)
    if kind is None:
        return
    own = type(optimizer).update_step is kind.update_step
    for name, gradient in gradients.items():
        variable = tensors[name].variable
        sparse = own and isinstance(gradient, tf.IndexedSlices)
        choices = {**_shared(optimizer, variable), **_OF_KIND[kind](optimizer, variable)}
        yield name, Rule(**choices, sparse=sparse).text()


def _known(optimizer: Optimizer) -> Any:
    return next((kind for kind in _SLOTS if isinstance(optimizer, kind)), None)


def _shared(optimizer: Optimizer, variable: keras.Variable) -> dict[str, Any]:
    """What every kind of optimizer has."""
    iterations, count = int(optimizer._iterations), optimizer.gradient_accumulation_steps or 1
    rate = optimizer._learning_rate
    scheduled = callable(rate) and not isinstance(rate, keras.Variable)
    decays = bool(optimizer.weight_decay) and optimizer._use_weight_decay(variable.value)
    clip, bound = next((c for c in _clips(optimizer) if c[1]), ("", 0.0))
    return {
        "rate": float(to_numpy(tf.cast(optimizer.learning_rate, variable.dtype))),
        "schedule": _name(rate) if scheduled else "",
        "scheduled": _rates_of(rate) if scheduled else (),
        "update": iterations // count + 1,
        "decay": float(optimizer.weight_decay) if decays else 0.0,
        "decay_form": "decoupled" if decays else "",
        "clip": clip,
        "clip_at": float(bound),
        "accumulate": count,
        "position": iterations % count + 1,
        "ema": float(optimizer.ema_momentum) if optimizer.use_ema else None,
        "ema_every": optimizer.ema_overwrite_frequency or 0,
        "corrections": "weight",
    }


def _clips(optimizer: Optimizer) -> list[tuple[str, Any]]:
    """Every bound that a gradient may have, in the order in which Keras asks for them."""
    norms = ("norm", optimizer.clipnorm), ("global-norm", optimizer.global_clipnorm)
    return [*norms, ("value", optimizer.clipvalue)]


def _rates_of(schedule: Any) -> tuple[float, ...]:
    """The rates that a schedule of Keras' own is built from."""
    names = ("initial_learning_rate", "end_learning_rate", "warmup_target", "values")
    given = (getattr(schedule, name, None) for name in names)
    lists = (value if isinstance(value, list | tuple) else [value] for value in given)
    return tuple(float(value) for values in lists for value in values if value is not None)


def _name(schedule: Any) -> str:
    return str(getattr(schedule, "__name__", type(schedule).__name__))


def _rounded(optimizer: Optimizer, **constants: str) -> tuple[str, ...]:
    """Those constants of a rule that are Python floats: attribute → name in the rule."""
    named = {"weight_decay": "decay", **constants}
    values = {name: getattr(optimizer, attribute) for attribute, name in named.items()}
    return tuple(name for name, v in values.items() if not isinstance(v, np.floating) and v)


def _sgd(optimizer: Optimizer, variable: keras.Variable) -> dict[str, Any]:
    return {
        "kind": "sgd",
        "momentum": float(optimizer.momentum),
        "nesterov": bool(optimizer.nesterov) and bool(optimizer.momentum),
        "rounded": _rounded(optimizer, momentum="momentum"),
    }


def _betas(optimizer: Optimizer) -> dict[str, Any]:
    return {"beta_1": float(optimizer.beta_1), "beta_2": float(optimizer.beta_2)}


def _adam(optimizer: Optimizer, variable: keras.Variable) -> dict[str, Any]:
    return {
        "kind": "adam",
        **_betas(optimizer),
        "epsilon": float(optimizer.epsilon),
        "epsilon_place": "before",
        "amsgrad": bool(optimizer.amsgrad),
        "rounded": _rounded(optimizer, beta_1="power_1", beta_2="power_2"),
    }


def _adamax(optimizer: Optimizer, variable: keras.Variable) -> dict[str, Any]:
    return {
        "kind": "adamax",
        **_betas(optimizer),
        "epsilon": float(optimizer.epsilon),
        "epsilon_place": "quotient",
        "rounded": _rounded(optimizer, beta_1="power_1"),
    }


def _nadam(optimizer: Optimizer, variable: keras.Variable) -> dict[str, Any]:
    number = np.dtype(variable.dtype).type
    update = int(optimizer.iterations) + 1
    before = to_numpy(optimizer._u_product) if optimizer.built else 1.0
    # As _backend_update_step does: with constants that are not rounded to float32.
    momentum = number(1.0) - number(0.5) * number(0.96) ** number(update)
    return {
        "kind": "nadam",
        **_betas(optimizer),
        "epsilon": float(optimizer.epsilon),
        "product": float(number(before) * number(optimizer.beta_1) * momentum),
        "rounded": (*_rounded(optimizer, beta_1="beta_1", beta_2="beta_2"), "0.96"),
    }


def _rmsprop(optimizer: Optimizer, variable: keras.Variable) -> dict[str, Any]:
    return {
        "kind": "rmsprop",
        "momentum": float(optimizer.momentum),
        "beta_2": float(optimizer.rho),
        "epsilon": float(optimizer.epsilon),
        "epsilon_place": "inside",
        "centered": bool(optimizer.centered),
        "rounded": _rounded(optimizer),
    }


def _adagrad(optimizer: Optimizer, variable: keras.Variable) -> dict[str, Any]:
    return {
        "kind": "adagrad",
        "accumulator": float(optimizer.initial_accumulator_value),
        "epsilon": float(optimizer.epsilon),
        "epsilon_place": "inside",
        "rounded": _rounded(optimizer, initial_accumulator_value="accumulator"),
    }


def _adadelta(optimizer: Optimizer, variable: keras.Variable) -> dict[str, Any]:
    return {
        "kind": "adadelta",
        "beta_2": float(optimizer.rho),
        "epsilon": float(optimizer.epsilon),
        "rounded": _rounded(optimizer),
    }


def _lion(optimizer: Optimizer, variable: keras.Variable) -> dict[str, Any]:
    return {
        "kind": "lion",
        **_betas(optimizer),
        "rounded": _rounded(optimizer, beta_1="beta_1", beta_2="beta_2"),
    }


_OF_KIND: Mapping[type, Callable[[Optimizer, keras.Variable], dict[str, Any]]] = {
    _O.SGD: _sgd,
    _O.Adam: _adam,
    _O.Adamax: _adamax,
    _O.Nadam: _nadam,
    _O.RMSprop: _rmsprop,
    _O.Adagrad: _adagrad,
    _O.Adadelta: _adadelta,
    _O.Lion: _lion,
}
"""Kind of an optimizer → what its rules have beside what all have."""
