"""Differences that a user accepts: predicted from Keras' side, so that only the rest is judged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.conventions import check_names
from compare.errors import InputError
from compare.parity.explain.evidence import statistics_update
from compare.parity.report import ALLOWABLE
from compare.trace import Trace

Evaluate = Callable[[Mapping[str, NDArray[Any]], Callable[[str, NDArray[Any]], None]], None]
"""Evaluates the Keras model with some tensors replaced, writing `evaluation/…` to a sink."""


def check_allowed(names: Collection[str]) -> None:
    """Raise unless every name is a convention whose difference can be predicted.

    Raises:
        InputError: A name is unknown, or its difference cannot be predicted.
    """
    check_names(names)
    for name in names:
        if name not in ALLOWABLE:
            raise InputError(
                f"allow: the difference of {name!r} cannot be predicted, so it cannot be told from "
                f"others: expected of {', '.join(ALLOWABLE)}. Apply its remedy instead: "
                f"`bn-compare conventions {name}`."
            )


class Predicted(Mapping[str, NDArray[Any]]):
    """Keras' trace as Torch would have computed it, had it differed in the allowed ways alone.

    Args:
        keras: Keras' trace.
        torch: Torch's trace, of which nothing but the decay is read.
        allow: Names from `ALLOWABLE`.
        evaluate: Evaluates the Keras model with the predicted statistics.
    """

    def __init__(
        self, keras: Trace, torch: Trace, allow: Collection[str], evaluate: Evaluate
    ) -> None:
        self._keras = keras
        self.layers, self.steps = keras.layers, keras.steps
        self._predicted: dict[str, NDArray[Any]] = {}
        for layer in keras.layers:
            if layer["kind"] == "batch_norm" and f"training/{layer['name']}/input" in keras:
                self._predicted |= _statistics(keras, torch, layer["name"], allow)
        if self._predicted:
            last = f"step/{self.steps}/"
            values = {
                key.removeprefix(f"{last}{group}/"): self[key]
                for group in ("weights", "statistics")
                for key in keras
                if key.startswith(f"{last}{group}/")
            }
            evaluate(values, self._predicted.__setitem__)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._predicted[name] if name in self._predicted else self._keras[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keras)

    def __len__(self) -> int:
        return len(self._keras)


def _statistics(
    keras: Trace, torch: Trace, name: str, allow: Collection[str]
) -> dict[str, NDArray[Any]]:
    """The moving statistics of one layer after every step, under the allowed conventions."""
    update = statistics_update(keras, name)
    unbiased = "bn-biased-variance" in allow
    decay = update.decay
    if {"bn-momentum", "bn-momentum-copied"} & set(allow):
        with suppress(LookupError):  # Torch's trace ended before: its error is what is told.
            decay = statistics_update(torch, name).decay
    factor = {"moving_mean": 1.0, "moving_variance": update.unbiasing if unbiased else 1.0}
    found = {}
    for tensor, times in factor.items():
        before = predicted = np.asarray(keras[f"initial/{name}/{tensor}"], dtype=np.float64)
        for step in range(1, keras.steps + 1):
            key = f"step/{step}/statistics/{name}/{tensor}"
            after = np.asarray(keras[key], dtype=np.float64)
            if update.decay < 1.0:
                batch = (after - update.decay * before) / (1.0 - update.decay)
                predicted = decay * predicted + (1.0 - decay) * times * batch
            found[key] = predicted.astype(keras[key].dtype)
            before = after
    return found
