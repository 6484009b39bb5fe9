"""Parity of any pair: a Keras model and a Torch module that should be the same computation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from compare import allowances, frameworks, rungs, tolerances
from compare.conventions import CONVENTIONS
from compare.errors import InputError
from compare.explain import divergence
from compare.ladder import Divergence, Ladder, RungResult
from compare.matching import partners
from compare.traces import Trace, TraceWriter


class ParityError(AssertionError):
    """Two models that should be the same computation are not; the message is the report."""


@dataclass(frozen=True)
class ParityReport:
    """What the ladder found on a pair of models.

    Attributes:
        passed: Whether every rung passed.
        first_divergence: What differs first; None where nothing does.
        rungs: One result per rung climbed, in order.
        dtype: Dtype of the comparison.
        allowed: Conventions whose predicted difference was accepted.
    """

    passed: bool
    first_divergence: Divergence | None
    rungs: tuple[RungResult, ...]
    dtype: str
    allowed: tuple[str, ...] = ()

    def raise_if_diverged(self) -> None:
        """Raise `ParityError`, with the report, unless every rung passed."""
        __tracebackhide__ = True
        if not self.passed:
            raise ParityError(str(self))

    def __str__(self) -> str:
        head = _verdict(self.first_divergence, self.allowed)
        width = max(len(rung.rung_name) for rung in self.rungs)
        lines = [
            f"{'ok ' if rung.passed else '✗  '} {rung.rung:>2} {rung.rung_name:<{width}}  "
            + _numbers(rung)
            for rung in self.rungs
        ]
        return "\n".join([*head, "", *lines])


def _verdict(first: Divergence | None, allowed: Collection[str]) -> list[str]:
    accepted = f" (allowed: {', '.join(allowed)})" if allowed else ""
    if first is None:
        return [f"Keras and Torch agree on every rung{accepted}."]
    step = "" if first.step is None else f", step {first.step}"
    lines = [
        f"Keras and Torch differ first on rung {first.rung} ({first.rung_name}){step}: "
        f"{first.layer}{accepted}."
    ]
    for name in first.explained_by:
        convention = CONVENTIONS[name]
        lines.append(f"Explained by {name}: Keras: {convention.keras}; Torch: {convention.torch}.")
        lines.append(f"Remedy in Torch: {convention.to_torch}.")
    if first.explained_by and set(first.explained_by) <= set(allowances.PREDICTABLE):
        names = ", ".join(f'"{name}"' for name in (*allowed, *first.explained_by))
        lines.append(f"To accept the difference: allow=[{names}]")
    return lines


def _numbers(rung: RungResult) -> str:
    if rung.max_abs is None or rung.required is None:
        return "nothing to compare"
    return (
        f"max |Δ| {rung.max_abs:.1e}, tolerance {rung.allowed:.1e}, would need {rung.required:.1e}"
        + ("" if rung.passed else f"; worst: {rung.where}")
    )


def check_parity(
    keras_model: Any,
    torch_module: Any,
    x: NDArray[Any],
    y: NDArray[Any] | None = None,
    *,
    torch_loss: Callable[[Any, Any], Any] | None = None,
    torch_optimizer: Callable[[Any], Any] | None = None,
    steps: int = 2,
    dtype: str | None = None,
    pairs: Mapping[str, str] | None = None,
    to_torch: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    allow: Collection[str] = (),
) -> ParityReport:
    """Climb the ladder with any Keras model and any Torch module, in lockstep.

    Both are traced over a few training steps, each on all of `x` and `y` as one batch: structure,
    data, initial weights, forward, loss, gradients, optimizer steps, moving statistics and
    evaluation are compared, element by element. Weights are *not* copied. Models, optimizers, modes
    and random state are left as they were found.

    Args:
        keras_model: A built and compiled Keras model; its own loss and optimizer are used.
        torch_module: A LightningModule, with its own `training_step` and `configure_optimizers`,
            or a plain module with the next two arguments.
        x: Samples, (n, …), in Keras' layout (channels last).
        y: Targets, (n, …), as both sides' losses take them; None to compare without training: then
            there is one forward pass in training mode and neither loss, gradients nor steps.
        torch_loss: `torch_loss(output, target)` of a plain module.
        torch_optimizer: `torch_optimizer(parameters)` of a plain module.
        steps: Training steps, at least 1. A momentum rounded to float32 shows from the second on.
        dtype: `"float32"` or `"float64"`; None for the dtype of the Keras model.
        pairs: Keras layer name → Torch module path, where names and order do not tell.
        to_torch: Puts samples into the module's layout. By default, channels move to axis 1 exactly
            when the first Torch layer is a convolution or normalizes over space or time.
        allow: Conventions whose difference is accepted; what remains after the *predicted*
            difference must be within tolerance.

    Returns:
        The report; call its `raise_if_diverged`.

    Raises:
        InputError: An argument cannot be used.
        MissingDependencyError: Keras or Torch is not installed.
    """
    allowances.check_allowed(allow)
    if not isinstance(steps, int) or steps < 1:
        raise InputError(f"steps: expected a whole number of at least 1, received {steps!r}.")
    sides = {name: cast(Any, frameworks.load(name)) for name in frameworks.NAMES}
    dtype = _dtype(sides, keras_model, torch_module, dtype)
    targets = None if y is None else _cast("y", y, dtype)
    batches = [(_cast("x", x, dtype), targets)] * (1 if y is None else steps)
    objective = None
    if y is not None:
        objective = _objective(sides["torch"], torch_module, torch_loss, torch_optimizer)
    ladder = Ladder(tolerances.for_dtype(dtype))
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
        writers = {name: TraceWriter(Path(scratch) / name) for name in sides}
        keras = _traced(writers["keras"], partial(sides["keras"].trace, keras_model, batches))
        torch = _traced(
            writers["torch"],
            partial(
                sides["torch"].trace_any,
                torch_module,
                batches,
                objective=objective,
                to_torch=to_torch,
            ),
        )
        torch = torch.renamed(partners(keras.layers, torch.layers, pairs))

        def evaluate(values: Mapping[str, NDArray[Any]], sink: Any) -> None:
            sides["keras"].evaluate(keras_model, values, batches[0][0], sink)

        expected: Any = allowances.Predicted(keras, torch, allow, evaluate) if allow else keras
        rungs.climb(ladder, expected, torch)
        first = divergence(ladder, keras, torch)
    if first is not None:
        names = tuple(name for name in first.explained_by if name not in allow)
        first = replace(first, explained_by=names)
    return ParityReport(ladder.passed, first, tuple(ladder.results()), dtype, tuple(allow))


def _traced(writer: TraceWriter, trace: Callable[[TraceWriter], Any]) -> Trace:
    with _usable():
        return writer.close(trace(writer))


@contextmanager
def _usable() -> Iterator[None]:
    """What an adapter says of a model that it cannot trace is a message for the user."""
    try:
        yield
    except frameworks.UNUSABLE as error:
        raise InputError(str(error)) from error


def _dtype(sides: Mapping[str, Any], keras_model: Any, module: Any, asked: str | None) -> str:
    with _usable():
        found = {
            "Keras model": sides["keras"].dtype_of(keras_model),
            "Torch module": sides["torch"].dtype_of(module),
        }
    expected = asked or found["Keras model"]
    if expected not in ("float32", "float64"):
        raise InputError(f"dtype: expected float32 or float64, received {expected!r}.")
    for side, dtype in found.items():
        if dtype != expected:
            raise InputError(
                f"the {side} computes in {dtype}, expected {expected}: build both in one dtype "
                "(keras.config.set_floatx and set_dtype_policy before building; module.to)."
            )
    return expected


def _objective(
    torch: Any, module: Any, loss: Callable[..., Any] | None, optimizer: Callable[..., Any] | None
) -> tuple[Any, Any] | None:
    if torch.is_lightning(module):
        if loss is not None or optimizer is not None:
            raise InputError(
                "torch_loss and torch_optimizer are for a plain module: a LightningModule brings "
                "its own training_step and configure_optimizers."
            )
        return None
    if loss is None or optimizer is None:
        raise InputError(
            "a plain Torch module needs torch_loss=… and torch_optimizer=…, such as "
            "torch.optim.SGD with its arguments bound; or pass a LightningModule."
        )
    return loss, optimizer


def _cast(name: str, value: Any, dtype: str) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name}: expected an array of numbers, received dtype {array.dtype}.")
    if array.ndim == 0 or len(array) == 0:
        raise InputError(f"{name}: expected at least one sample, received shape {array.shape}.")
    if array.dtype.kind == "f":
        array = array.astype(dtype)
        if not np.isfinite(array).all():
            raise InputError(f"{name}: expected finite numbers, received NaN or infinity.")
    return array
