"""The bugs that `bn-compare selftest` injects, one per rung, and a framework that carries a bug.

Bugs of copying, ordering and reading are here; those in the live model are with the Torch backend.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from compare.backends.bugs import AFTER, BUGS, Bug, Part, bug
from compare.backends.protocol import Framework, Handle
from compare.data import Array
from compare.trace import Layer

Weights = dict[str, Array]
Plan = list[list[NDArray[Any]]]
"""Sample indices of every batch of every epoch."""


def one_per_rung() -> dict[str, Bug]:
    """Name → bug, in the order of the rungs."""
    # By name: only backends are imported where a framework may be missing.
    importlib.import_module("compare.backends.torch.bugs")
    return dict(sorted(BUGS.items(), key=lambda item: item[1].rung))


class Delegate:
    """A framework; a subclass overrides what is wrong with it."""

    def __init__(self, framework: Framework) -> None:
        self.framework = framework

    def __getattr__(self, name: str) -> Any:
        return getattr(self.framework, name)


def faulty(framework: Framework, bug: Bug, size: float | None = None) -> Framework:
    """A framework with one bug.

    Args:
        framework: The framework as it should be.
        bug: The bug.
        size: How large it is; None for the size it is registered with.
    """
    size = bug.size if size is None else size
    size = 0.0 if size is None else size
    if bug.changes == "framework":
        return cast(Framework, bug.change(framework, size))
    return cast(Framework, _Faulty(framework, bug, size))


class _Faulty(Delegate):
    """A framework in which a bug changes one thing on its way in or out."""

    def __init__(self, framework: Framework, bug: Bug, size: float) -> None:
        super().__init__(framework)
        self._bug, self._size = bug, size

    def _changed(self, part: Part, value: Any) -> Any:
        return self._bug.change(value, self._size) if self._bug.changes == part else value

    def build(self, *arguments: Any, **options: Any) -> Handle:
        handle = self.framework.build(*arguments, **options)
        self._changed("model", handle)
        return handle

    def write_weights(self, handle: Handle, weights: Mapping[str, Array], /) -> None:
        self.framework.write_weights(handle, self._changed("weights", dict(weights)))

    def delivered(self, handle: Handle, orders: Any, *, batch_size: int) -> Plan:
        plan = self.framework.delivered(handle, orders, batch_size=batch_size)
        return cast(Plan, self._changed("plan", plan))

    def trace(
        self,
        handle: Handle,
        batches: Sequence[tuple[Array, Array]],
        sink: Callable[[str, NDArray[Any]], None],
    ) -> list[Layer]:
        seen = [self._changed("batch", batch) for batch in batches]
        return self.framework.trace(handle, seen, sink)


@bug(
    "the short last batch is dropped",
    changes="plan",
    variant="mlp",
    rung=2,
    blame="data",
    explained_by=("last-batch",),
)
def _last_batch_dropped(plan: Plan, size: float) -> Plan:
    return [row[:-1] for row in plan]


@bug(
    "a single weight is off",
    changes="weights",
    variant=AFTER,
    rung=3,
    blame="hidden",
    size=1e-9,
    unit="weight",
)
def _weight_off(weights: Weights, size: float) -> Weights:
    kernel = weights["hidden/kernel"].copy()
    kernel[1, 7] += size
    return {**weights, "hidden/kernel": kernel}


class _RoundedAtTheEnd(Delegate):
    _trained = False

    def train(self, *arguments: Any, **options: Any) -> None:
        self.framework.train(*arguments, **options)
        self._trained = True

    def predict_proba(self, *arguments: Any, **options: Any) -> Array:
        predicted = self.framework.predict_proba(*arguments, **options)
        return predicted.astype(np.float32).astype(predicted.dtype) if self._trained else predicted


@bug(
    "final probabilities saved as float32",
    changes="framework",
    variant=AFTER,
    rung=11,
    blame="prediction",
)
def _prediction_float32(framework: Framework, size: float) -> Delegate:
    return _RoundedAtTheEnd(framework)
