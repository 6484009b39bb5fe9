"""A framework with a port bug: the same surface, one thing done wrongly.

Bugs of copying, ordering and reading are here, in NumPy; the others are put into the live model by
the framework's own `mutate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.protocol import Framework, Handle
from compare.data import Array
from compare.selftest.mutations import Mutation
from compare.traces import Layer

Weights = dict[str, Array]
Plan = list[list[NDArray[Any]]]
"""Sample indices of every batch of every epoch."""


def _changed(
    tensors: Mapping[str, Callable[[Array], Array]],
) -> Callable[[Weights, float], Weights]:
    """A bug that writes every tensor whose name ends like a key otherwise."""

    def write(weights: Weights, size: float) -> Weights:
        changed = dict(weights)
        for ending, change in tensors.items():
            found = {name: change(w) for name, w in weights.items() if name.endswith(ending)}
            changed |= found
        return changed

    return write


def _one_off(weights: Weights, size: float) -> Weights:
    kernel = weights["hidden/kernel"].copy()
    kernel[1, 7] += size
    return {**weights, "hidden/kernel": kernel}


def _misread(kernel: Array) -> Array:
    """The numbers of a kernel in Torch's layout, (out, in, …), taken as they lie in memory."""
    native = (*kernel.shape[:-3:-1], *kernel.shape[:-2])
    misread: Array = np.moveaxis(kernel.reshape(native), (0, 1), (-1, -2))
    return misread


def _swapped_gates(tensor: Array) -> Array:
    i, f, g, o = np.split(tensor, 4, axis=-1)
    return np.concatenate([i, f, o, g], axis=-1)


def _transposed_gates(tensor: Array) -> Array:
    return np.concatenate([gate.T for gate in np.split(tensor, 4, axis=-1)], axis=-1)


def _without_forget_bias(bias: Array) -> Array:
    units = len(bias) // 4
    lowered: Array = bias - np.repeat([0.0, 1.0, 0.0, 0.0], units)
    return lowered


def _swapped_statistics(weights: Weights, size: float) -> Weights:
    mean, variance = "batch_norm/moving_mean", "batch_norm/moving_variance"
    return {**weights, mean: weights[variance], variance: weights[mean]}


def _to_float32(tensor: Array) -> Array:
    rounded: Array = tensor.astype(np.float32).astype(tensor.dtype)
    return rounded


_WRITES: Mapping[str, Callable[[Weights, float], Weights]] = {
    "weight-off": _one_off,
    "kernel-transposed": _changed({"/kernel": _misread}),
    "conv-kernel-not-permuted": _changed({"conv1/kernel": _misread, "conv2/kernel": _misread}),
    "conv-kernel-transposed": _changed(
        {"conv1/kernel": lambda k: k.swapaxes(0, 1), "conv2/kernel": lambda k: k.swapaxes(0, 1)}
    ),
    "lstm-gates-swapped": _changed(
        {f"lstm/{tensor}": _swapped_gates for tensor in ("kernel", "recurrent_kernel", "bias")}
    ),
    "lstm-recurrent-transposed": _changed({"/recurrent_kernel": _transposed_gates}),
    "lstm-forget-bias-missing": _changed({"lstm/bias": _without_forget_bias}),
    "bn-statistics-swapped": _swapped_statistics,
    "bn-gamma-not-copied": _changed({"/gamma": np.ones_like}),
    "bn-beta-not-copied": _changed({"/beta": np.zeros_like}),
    "bn-buffers-stale": _changed({"/moving_mean": np.zeros_like, "/moving_variance": np.ones_like}),
    "bn-deviation-loaded": _changed({"/moving_variance": np.sqrt}),
    "output-bias-not-copied": _changed({"output/bias": np.zeros_like}),
    "weights-float32": _changed({"": _to_float32}),
}
"""Weights as they should be → weights as the bug writes them."""


def _reordered(plan: Plan) -> Plan:
    return [
        [batch[::-1] if (epoch, number) == (56, 5) else batch for number, batch in enumerate(row)]
        for epoch, row in enumerate(plan)
    ]


def _doubled(plan: Plan) -> Plan:
    return [[np.concatenate(row[at : at + 2]) for at in range(0, len(row), 2)] for row in plan]


def _own_order(plan: Plan) -> Plan:
    rng = np.random.default_rng(0)
    own = []
    for row in plan:
        samples = rng.permutation(np.concatenate(row))
        own.append(np.split(samples, np.cumsum([len(batch) for batch in row])[:-1]))
    return own


_PLANS: Mapping[str, Callable[[Plan], Plan]] = {
    "last-batch-dropped": lambda plan: [row[:-1] for row in plan],
    "batch-57-reordered": _reordered,
    "batch-repeated": lambda plan: [[*row, row[0]] for row in plan],
    "batch-size-doubled": _doubled,
    "order-repeated": lambda plan: [plan[0] for _ in plan],
    "order-own": _own_order,
}
"""Batches as they should be delivered → as the bug delivers them. Training is never reached."""

_BATCHES: Mapping[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "labels-flipped": lambda x, y: (x, 1.0 - y),
    "data-float32": lambda x, y: (_to_float32(x), y),
    "image-transposed": lambda x, y: (np.ascontiguousarray(x.swapaxes(1, 2)), y),
}
"""A batch as it should be → as the bug sees it. Training is never reached."""


class Mutated:
    """A framework with one bug; what the bug does not touch is delegated.

    Args:
        framework: The framework as it should be.
        mutation: The bug.
        size: How large it is; None for the size it is registered with.
    """

    def __init__(self, framework: Framework, mutation: Mutation, size: float | None = None) -> None:
        self._framework, self._name = framework, mutation.name
        found = mutation.size if size is None else size
        self._size = 0.0 if found is None else found
        self._past: list[Weights] = []
        self._trained = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._framework, name)

    def build(self, *arguments: Any, **options: Any) -> Handle:
        """A model, with the bug where it is one of the model."""
        handle = self._framework.build(*arguments, **options)
        if self._name not in NEUTRAL:
            # Only the framework that carries the bugs knows how.
            self._framework.mutate(handle, self._name, self._size)  # type: ignore[attr-defined]
        return handle

    def write_weights(self, handle: Handle, weights: Mapping[str, Array], /) -> None:
        """Set all weights, or what the bug takes for them."""
        write = _WRITES.get(self._name)
        values = dict(weights) if write is None else write(dict(weights), self._size)
        self._framework.write_weights(handle, values)

    def delivered(self, handle: Handle, orders: Any, *, batch_size: int) -> Plan:
        """The batches, as the bug delivers them."""
        plan = self._framework.delivered(handle, orders, batch_size=batch_size)
        return _PLANS[self._name](plan) if self._name in _PLANS else plan

    def trace(
        self,
        handle: Handle,
        batches: Sequence[tuple[Array, Array]],
        sink: Callable[[str, NDArray[Any]], None],
    ) -> list[Layer]:
        """A trace of the batches as the bug sees them."""
        if self._name in _BATCHES:
            batches = [_BATCHES[self._name](x, y) for x, y in batches]
        return self._framework.trace(handle, batches, sink)

    def train(
        self,
        handle: Handle,
        data: tuple[Array, Array],
        *,
        orders: Any,
        batch_size: int,
        on_epoch: Callable[[float, float], None],
    ) -> None:
        """A training, with what the bug does at the end of every epoch and at its own end."""

        def after_epoch(running_loss: float, running_accuracy: float) -> None:
            if self._name == "weights-rounded":
                rounded = self._framework.read_weights(handle)
                self._framework.write_weights(
                    handle, {name: _to_float32(w) for name, w in rounded.items()}
                )
            self._past.append(self._framework.read_weights(handle))
            on_epoch(running_loss, running_accuracy)

        self._framework.train(
            handle, data, orders=orders, batch_size=batch_size, on_epoch=after_epoch
        )
        self._trained = True
        if self._name == "weights-averaged-at-end":
            self._framework.write_weights(handle, self._average())

    def predict_proba(self, handle: Handle, x: Array, *, batch_statistics: bool = False) -> Array:
        """Probabilities, as the bug predicts them."""
        predict = self._framework.predict_proba
        if self._name == "prediction-of-averages":
            own = self._framework.read_weights(handle)
            self._framework.write_weights(handle, self._average())
            found = predict(handle, x, batch_statistics=batch_statistics)
            self._framework.write_weights(handle, own)
            return found
        forgot = self._name == "prediction-in-training-mode"
        found = predict(handle, x, batch_statistics=batch_statistics or forgot)
        if self._name == "prediction-without-sigmoid":
            return np.asarray(np.log(found / (1.0 - found)))
        return _to_float32(found) if self._trained and self._name == "prediction-float32" else found

    def _average(self) -> Weights:
        return {name: np.mean([w[name] for w in self._past], axis=0) for name in self._past[0]}


NEUTRAL = frozenset(
    {
        *_WRITES,
        *_PLANS,
        *_BATCHES,
        "weights-rounded",
        "weights-averaged-at-end",
        "prediction-of-averages",
        "prediction-in-training-mode",
        "prediction-without-sigmoid",
        "prediction-float32",
    }
)
"""Names of the bugs that are done here."""
