"""What an explanation of a divergence may look at, and the register of explanations.

Each explanation is a hypothesis with a prediction: given what Keras computed, what would Torch have
computed under the convention? It is named only when the prediction holds to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compare.conventions import Numbers
from compare.parity.explain.float32 import UNITS, misplacing
from compare.parity.ladder import Check
from compare.parity.stretches import Ends, ends
from compare.parity.tolerances import gap
from compare.study.runs import Outcome
from compare.trace import Layer, Operation, Trace

Plans = Mapping[str, NDArray[np.int64]]
"""Framework → batches as delivered."""

Outcomes = Mapping[str, Outcome]
"""Framework → what a whole training left."""

Array = NDArray[np.floating]


def double(array: ArrayLike) -> Array:
    """An array in float64."""
    return np.asarray(array, dtype=np.float64)


_DIGITS = 6
"""Of a number that somebody wrote and a fit found again."""


def short(fitted: float) -> float:
    """A fitted number as somebody would have written it, or that rounded to float32."""
    written = float(f"{fitted:.{_DIGITS}g}")
    rounded = float(np.float32(written))
    return rounded if abs(fitted - rounded) < abs(fitted - written) else written


@dataclass(frozen=True)
class Evidence:
    """All that an explanation may look at.

    Attributes:
        check: The first check that failed.
        keras: Keras' trace.
        torch: Torch's trace, with Keras' layer names.
        plans: Empty where no whole trainings are compared.
        outcomes: Empty where nothing was trained.
        losses: Settings of both sides' losses, empty where they are not known.
        operations: All that runs in Keras, in order, weighted or not; empty where it is not known.
    """

    check: Check
    keras: Trace
    torch: Trace
    plans: Plans
    outcomes: Outcomes
    losses: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    operations: Sequence[Operation] = ()

    @property
    def layer(self) -> Layer:
        """The blamed layer, as Keras describes it; a LookupError where none is blamed."""
        layers = {layer["name"]: layer for layer in self.keras.layers}
        return layers[self.check.layer]

    @property
    def ends(self) -> Ends:
        """The layers around what is blamed between two; a LookupError where it is not between."""
        if (around := ends(self.check.layer)) is None:
            raise LookupError(self.check.layer)
        return around

    def both(self, key: str) -> tuple[Array, Array]:
        """An array of both sides, in float64."""
        return double(self.keras[key]), double(self.torch[key])

    def failed(self) -> tuple[Array, Array]:
        """The arrays of both sides that differ, in float64."""
        return self.both(self.check.path)

    def curve(self, framework: str, metric: str) -> Array:
        """A metric after every epoch, (epochs,); NaN where it has no value."""
        history = self.outcomes[framework].record["history"]
        return np.array(history[metric], dtype=np.float64)

    @property
    def single(self) -> bool:
        """Whether the trace was computed in float32."""
        return all(
            self.keras[key].dtype == np.float32 for key in self.keras if key.startswith("initial/")
        )

    @property
    def unit(self) -> float:
        """The unit in the last place of 1 in the trace's dtype."""
        return float(np.finfo(np.float32 if self.single else np.float64).eps)

    def misfit(self, predicted: Array, actual: Array) -> float:
        """Largest error of a prediction relative to its scale; infinite where shapes differ."""
        if predicted.shape != actual.shape or not np.isfinite(predicted).all():
            return math.inf
        scale = max(1.0, float(np.abs(predicted).max(initial=0.0)))
        return float(np.abs(predicted - actual).max(initial=0.0)) / scale

    def close(self, predicted: Array, actual: Array) -> bool:
        """Whether a prediction holds, to the rounding of the trace's dtype.

        A hundred units in the last place: predictions undo divisions by small numbers.
        """
        return self.misfit(predicted, actual) <= (100 if self.single else 5e4) * self.unit

    def holds(self, predicted: Array) -> bool:
        """Whether what was computed with another setting is what Torch has, and Keras has not.

        For predictions that repeat a layer's own arithmetic, and round as it does: the ladder
        judges.
        """
        keras, torch = self.failed()
        fits = gap(predicted, torch).within(self.check.allowed)
        return fits and not self.known(predicted, keras)

    def known(self, computed: Array, keras: Array) -> bool:
        """Whether what was computed with Keras' settings is what Keras has, to float32.

        Keras rounds some operations to it whatever the dtype. What else runs there shows.
        """
        single = UNITS * float(np.finfo(np.float32).eps)
        apart = gap(computed, keras)
        misplaced = misplacing(self.operations, self.check.layer, keras) / apart.scale
        return apart.within(max(single + misplaced, self.check.allowed))


Test = Callable[[Evidence], bool | Sequence[str] | Mapping[str, Numbers]]
"""Whether a convention explains the failed check, or the names of those that do, or these names
with what fills their remedies."""

EXPLANATIONS: list[Callable[[Evidence], Mapping[str, Numbers]]] = []
"""All explanations; of those of a rung the first that returns names counts."""


def explains(
    rung: int, convention: str = "", *, kinds: Sequence[str] = (), step: int | None = None
) -> Callable[[Test], Test]:
    """Register a function as an explanation.

    Args:
        rung: Rung of the failed checks that it explains.
        convention: What is named where the function returns True; empty where it returns names.
        kinds: Kinds of the blamed layer; empty for any, and for what is no layer.
        step: Step of the failed check; None for any.
    """

    def register(test: Test) -> Test:
        def names(evidence: Evidence) -> Mapping[str, Numbers]:
            check = evidence.check
            if check.rung != rung or step not in (None, check.step):
                return {}
            try:
                if kinds and evidence.layer["kind"] not in kinds:
                    return {}
                # A prediction that overflows is not finite, and does not hold.
                with np.errstate(all="ignore"):
                    result = test(evidence)
            # One side lacks the layer or arrays of the hypothesis, has others, or only zeros.
            except (ArithmeticError, LookupError, StopIteration, ValueError):
                return {}
            if isinstance(result, bool | np.bool_):
                return {convention: {}} if result else {}
            return result if isinstance(result, Mapping) else {name: {} for name in result}

        EXPLANATIONS.append(names)
        return test

    return register


@dataclass(frozen=True)
class StatisticsUpdate:
    """What the first step did to a batch norm's moving statistics.

    Attributes:
        decay: Share of the old statistics that was kept, fitted to the moving mean.
        before: Moving variance before the step.
        batch: Biased variance of the batch.
        n: Values per channel in the batch.
    """

    decay: float
    before: Array
    batch: Array
    n: int

    @property
    def unbiasing(self) -> float:
        """What makes the biased variance unbiased; 1 where one value alone has no variance."""
        return self.n / max(self.n - 1, 1)

    def variance(self, decay: float, *, unbiased: bool) -> Array:
        """The moving variance after the step, under a decay and a way of counting."""
        factor = self.unbiasing if unbiased else 1.0
        return decay * self.before + (1.0 - decay) * factor * self.batch


def statistics_update(trace: Trace, name: str) -> StatisticsUpdate:
    """Read the first step's update of a batch norm's moving statistics off a trace."""
    x = double(trace[f"training/{name}/input"])
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    old = double(trace[f"initial/{name}/moving_mean"]) - mean
    new = double(trace[f"step/1/statistics/{name}/moving_mean"]) - mean
    return StatisticsUpdate(
        decay=float(new @ old / (old @ old)),
        before=double(trace[f"initial/{name}/moving_variance"]),
        batch=x.var(axes),
        n=x.size // x.shape[-1],
    )
