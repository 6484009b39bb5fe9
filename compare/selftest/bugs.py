"""The register of injected port bugs, each with the rung and the layer where it must be caught.

Keras stays as it is; the Torch side carries the bug. What a bug does is told in `mutated.py`
(bugs of copying, ordering and reading, in NumPy) and in Torch's `mutate` (bugs within a model).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.protocol import Framework, Handle
from compare.data import Array
from compare.trace import Layer


@dataclass(frozen=True)
class Mutation:
    """One port bug.

    Attributes:
        name: How it is called everywhere.
        variant: The variant that carries it.
        expected_rung: Number of the rung on which it must be caught.
        expected_layer: Who must be blamed there.
        description: What is wrong, in a few words.
        size: How large it is injected; None where it has no size.
        unit: What the size counts.
        explained_by: The conventions that would be a right explanation; any other is a wrong one.
        epochs: Epochs of the study; bugs that set in late need more.
    """

    name: str
    variant: str
    expected_rung: int
    expected_layer: str
    description: str
    size: float | None = None
    unit: str = ""
    explained_by: tuple[str, ...] = ()
    epochs: int = 3


_M = Mutation
_AFTER = "mlp-bn-after"
_RELATIVE = "relative"

_EXPLAINED_BY: Mapping[str, tuple[str, ...]] = {
    "bn-affine-kept": ("bn-affine",),
    "last-batch-dropped": ("last-batch",),
    "order-own": ("batch-order",),
    "kernel-transposed": ("kernel-layout",),
    "conv-kernel-not-permuted": ("kernel-layout",),
    "lstm-forget-bias-missing": ("lstm-forget-bias",),
    "bn-epsilon": ("bn-epsilon",),
    "bn-frozen": ("train-mode",),
    "lstm-not-batch-first": ("lstm-batch-first",),
    "flatten-channels-first": ("flatten-order",),
    "loss-summed": ("loss-reduction",),
    "sgd-momentum-float32": ("sgd-momentum-float32",),
    "lstm-two-biases": ("lstm-single-bias",),
    "bn-momentum-inverted": ("bn-momentum-copied",),
    "bn-momentum-default": ("bn-momentum",),
    "bn-momentum-off": ("bn-momentum",),
    "bn-unbiased-variance": ("bn-biased-variance",),
    "bn-cumulative-average": ("bn-momentum", "bn-biased-variance"),
    "running-loss-unweighted": ("epoch-metrics",),
}
"""Mutation → the conventions that would be a right explanation, where there are any."""

_STRUCTURE = (
    _M("bias-dropped", "mlp", 1, "output", "the output layer has no bias"),
    _M("hidden-too-wide", "mlp", 1, "hidden", "64 hidden units"),
    _M("bn-forgotten", _AFTER, 1, "batch_norm", "no batch normalization"),
    _M("bn-gamma-frozen", _AFTER, 1, "batch_norm", "gamma is not trained"),
    _M(
        "bn-affine-kept", "mlp-bn-no-affine", 1, "batch_norm", "gamma and beta where Keras has none"
    ),
)

_DATA = (
    _M("last-batch-dropped", "mlp", 2, "data", "the short last batch is dropped"),
    _M("batch-57-reordered", "mlp", 2, "data", "one batch of epoch 57 in another order", epochs=60),
    _M("batch-repeated", "mlp", 2, "data", "one step more per epoch"),
    _M("batch-size-doubled", "mlp", 2, "data", "batches of 64"),
    _M("order-repeated", "mlp", 2, "data", "every epoch in the order of the first"),
    _M("order-own", "mlp", 2, "data", "batches in an order of Torch's own"),
    _M("labels-flipped", "mlp", 2, "data", "inner and outer circle swapped"),
    _M("data-float32", "mlp", 2, "data", "samples rounded to float32"),
    _M("image-transposed", "cnn", 2, "data", "height and width of the images swapped"),
)

_WEIGHTS = (
    _M("weight-off", _AFTER, 3, "hidden", "a single weight is off", 1e-9, "weight"),
    _M("kernel-transposed", _AFTER, 3, "hidden", "kernels read in Torch's layout"),
    _M("conv-kernel-not-permuted", "cnn", 3, "conv1", "convolution kernels read as OIHW"),
    _M("conv-kernel-transposed", "cnn", 3, "conv1", "height and width of kernels swapped"),
    _M("lstm-gates-swapped", "lstm", 3, "lstm", "gates copied in the order i, f, o, g"),
    _M("lstm-recurrent-transposed", "lstm", 3, "lstm", "recurrent kernels transposed gate by gate"),
    _M("lstm-forget-bias-missing", "lstm", 3, "lstm", "the forget gate's bias starts at 0"),
    _M("bn-statistics-swapped", _AFTER, 3, "batch_norm", "moving mean and variance swapped"),
    _M("bn-gamma-not-copied", _AFTER, 3, "batch_norm", "gamma left at 1"),
    _M("bn-beta-not-copied", _AFTER, 3, "batch_norm", "beta left at 0"),
    _M("bn-buffers-stale", _AFTER, 3, "batch_norm", "moving statistics not loaded"),
    _M("bn-deviation-loaded", _AFTER, 3, "batch_norm", "the variance is loaded as deviation"),
    _M("output-bias-not-copied", _AFTER, 3, "output", "the output's bias left at 0"),
    _M("weights-float32", _AFTER, 3, "hidden", "weights saved as float32"),
)

_FORWARD = (
    _M("activation-nan", _AFTER, 4, "between hidden and batch_norm", "NaN in one activation"),
    _M("bn-epsilon", _AFTER, 4, "batch_norm", "epsilon is too small", 1e-3 - 1e-5, "epsilon"),
    _M("bn-epsilon-outside", _AFTER, 4, "batch_norm", "epsilon added to the deviation"),
    _M("bn-wrong-axis", _AFTER, 4, "batch_norm", "normalizes over the features"),
    _M("bn-per-image", "cnn-bn", 4, "batch_norm", "normalizes over each image"),
    _M("bn-per-pixel", "cnn-bn", 4, "batch_norm", "normalizes over the batch alone"),
    _M("bn-unbiased-normalization", _AFTER, 4, "batch_norm", "normalizes with ÷ (n − 1)"),
    _M("bn-frozen", _AFTER, 4, "batch_norm", "stays in evaluation mode"),
    _M("bn-before-relu", _AFTER, 4, "between hidden and batch_norm", "relu after, not before"),
    _M(
        "bn-after-relu",
        "mlp-bn-before",
        4,
        "between hidden and batch_norm",
        "relu before, not after",
    ),
    _M("relu-forgotten", "mlp", 4, "between hidden and output", "no activation"),
    _M("relu-leaky", "mlp", 4, "between hidden and output", "leaky relu", 1e-2, "slope"),
    _M("relu-gelu", "mlp", 4, "between hidden and output", "gelu for relu"),
    _M("dropout-added", "mlp", 4, "between hidden and output", "dropout of 0.1"),
    _M(
        "input-scaled",
        "mlp",
        4,
        "between the input and hidden",
        "the input is scaled",
        1e-3,
        _RELATIVE,
    ),
    _M("flatten-channels-first", "cnn", 4, "between conv2 and output", "flattens channels first"),
    _M("pool-stride", "cnn", 4, "between conv2 and output", "max pool with stride 1: Torch raises"),
    _M("pool-kernel", "cnn", 4, "between conv2 and output", "max pool over 3 × 3, padded"),
    _M("pool-average", "cnn-bn", 4, "between batch_norm and output", "average pool for max pool"),
    _M("conv-flipped", "cnn", 4, "conv1", "true convolution for cross-correlation"),
    _M("conv-padding", "cnn", 4, "conv1", 'padding "same": Torch raises'),
    _M("lstm-time-reversed", "lstm", 4, "lstm", "reads the sequence from its end"),
    _M("lstm-first-output", "lstm", 4, "between lstm and output", "the first output goes on"),
    _M("lstm-gates-computed-swapped", "lstm", 4, "lstm", "computes gates in the order i, f, o, g"),
    _M("lstm-not-batch-first", "lstm", 4, "between the input and lstm", "batch_first forgotten"),
)

_BACKWARD = (
    _M("loss-summed", _AFTER, 5, "loss", "sum over the batch for mean"),
    _M("loss-on-probabilities", _AFTER, 5, "loss", "probabilities taken for logits"),
    _M("loss-smoothed", _AFTER, 5, "loss", "labels are smoothed", 1e-2, "smoothing"),
    _M("loss-penalized", _AFTER, 5, "loss", "squared weights are added", 1e-4, "factor"),
    _M("loss-weighted", _AFTER, 5, "loss", "class 1 weighs more", 1e-2, _RELATIVE),
    _M("loss-hinge", _AFTER, 5, "loss", "hinge for cross-entropy"),
    _M("bn-statistics-detached", _AFTER, 6, "batch_norm", "no gradient through mean and variance"),
    _M("gradient-scaled", _AFTER, 6, "hidden", "a kernel's gradient is scaled", 1e-3, _RELATIVE),
    _M(
        "relu-gradient-leaky",
        "mlp",
        6,
        "between hidden and output",
        "relu with a leaky gradient",
        1e-2,
        "slope",
    ),
    _M("lstm-state-detached", "lstm", 6, "lstm", "no gradient from one step to the one before"),
)

_OPTIMIZER = (
    _M("learning-rate-off", _AFTER, 7, "optimizer", "learning rate × 1.0001", 1e-4, _RELATIVE),
    _M("learning-rate-float32", _AFTER, 7, "optimizer", "learning rate rounded to float32"),
    _M("sgd-momentum-off", _AFTER, 7, "optimizer", "momentum × 1.0001", 1e-4, _RELATIVE),
    _M("sgd-momentum-float32", _AFTER, 7, "optimizer", "momentum rounded to float32"),
    _M("sgd-momentum-forgotten", _AFTER, 7, "optimizer", "no momentum"),
    _M("sgd-nesterov", _AFTER, 7, "optimizer", "Nesterov's momentum"),
    _M("sgd-dampened", _AFTER, 7, "optimizer", "momentum is dampened", 1e-4, "dampening"),
    _M("weight-decay", _AFTER, 7, "optimizer", "weights decay", 1e-8, "weight decay"),
    _M("adam", _AFTER, 7, "optimizer", "Adam for SGD"),
    _M("two-steps-per-batch", _AFTER, 7, "optimizer", "the optimizer steps twice"),
    _M("gradients-not-zeroed", _AFTER, 7, "optimizer", "gradients add up over steps"),
    _M("gradients-clipped", _AFTER, 7, "optimizer", "gradients clipped to a norm of 0.1", 0.1),
    _M("output-not-optimized", _AFTER, 7, "output", "the optimizer does not know the output layer"),
    _M("bias-learns-faster", _AFTER, 7, "hidden", "a bias's own learning rate", 1e-3, _RELATIVE),
    _M("lstm-two-biases", "lstm", 7, "lstm", "both biases are trained"),
)

_STATISTICS = (
    _M("bn-momentum-inverted", _AFTER, 8, "batch_norm", "Keras' 0.99 copied as Torch's momentum"),
    _M("bn-momentum-default", _AFTER, 8, "batch_norm", "Torch's default momentum"),
    _M("bn-momentum-off", _AFTER, 8, "batch_norm", "momentum × 1.0001", 1e-4, _RELATIVE),
    _M("bn-unbiased-variance", _AFTER, 8, "batch_norm", "tracks the variance ÷ (n − 1)"),
    _M("bn-cumulative-average", _AFTER, 8, "batch_norm", "momentum None: averages all batches"),
    _M("bn-statistics-frozen", _AFTER, 8, "batch_norm", "moving statistics never move"),
    _M("bn-tracked-twice", _AFTER, 8, "batch_norm", "moving statistics move twice per step"),
    _M("bn-output-tracked", _AFTER, 8, "batch_norm", "tracks what leaves, not what enters"),
    _M("bn-deviation-tracked", _AFTER, 8, "batch_norm", "tracks the deviation"),
    _M("bn-evaluates-with-batch", _AFTER, 9, "batch_norm", "evaluates with the batch's statistics"),
    _M("bn-evaluates-without-epsilon", _AFTER, 9, "batch_norm", "leaves out epsilon to evaluate"),
    _M("logits-clamped", "mlp", 9, "output", "logits clamped to ± 0.1 to evaluate", 0.1),
)

_TRAJECTORY = (
    _M("learning-rate-drops", _AFTER, 10, "every layer", "a schedule sets in at epoch 3"),
    _M("gradients-rarely-clipped", _AFTER, 10, "every layer", "a clip that bites rarely", 1.8),
    _M("bn-short-batch-untracked", _AFTER, 10, "batch_norm", "the short last batch is not tracked"),
    _M("bn-momentum-changes", _AFTER, 10, "batch_norm", "another momentum from epoch 2 on"),
    _M("bn-freezes", _AFTER, 10, "every layer", "batch normalization frozen from epoch 2 on"),
    _M("left-in-evaluation-mode", _AFTER, 10, "every layer", "eval() left on from epoch 2 on"),
    _M("validated-in-training-mode", _AFTER, 10, "batch_norm", "validates in training mode"),
    _M("weights-rounded", _AFTER, 10, "every layer", "weights pass through float32 every epoch"),
    _M("optimizer-state-lost", _AFTER, 10, "every layer", "velocities are lost every epoch"),
    _M("stops-early", _AFTER, 10, "every layer", "training ends before its last epoch"),
    _M("prediction-without-sigmoid", _AFTER, 10, "prediction", "logits are returned"),
    _M("prediction-in-training-mode", _AFTER, 10, "prediction", "eval() forgotten to predict"),
    _M("prediction-of-averages", _AFTER, 10, "prediction", "predicts with averaged weights"),
    _M(
        "running-loss-unweighted",
        _AFTER,
        10,
        "running_train_loss",
        "batches count alike, short or not",
    ),
    _M("running-loss-summed", _AFTER, 10, "running_train_loss", "batches' losses are added up"),
    _M("prediction-float32", _AFTER, 11, "prediction", "final probabilities saved as float32"),
    _M("weights-averaged-at-end", _AFTER, 11, "prediction", "averages weights when training ends"),
    _M("accuracy-of-logits", _AFTER, 11, "prediction", "logits taken for probabilities"),
)

MUTATIONS: Mapping[str, Mutation] = MappingProxyType(
    {
        mutation.name: replace(mutation, explained_by=_EXPLAINED_BY.get(mutation.name, ()))
        for mutation in (
            *_STRUCTURE,
            *_DATA,
            *_WEIGHTS,
            *_FORWARD,
            *_BACKWARD,
            *_OPTIMIZER,
            *_STATISTICS,
            *_TRAJECTORY,
        )
    }
)
"""Name → mutation, in the order of the rungs."""


def quick() -> tuple[Mutation, ...]:
    """The first mutation of every rung."""
    first: dict[int, Mutation] = {}
    for mutation in MUTATIONS.values():
        first.setdefault(mutation.expected_rung, mutation)
    return tuple(first.values())


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
