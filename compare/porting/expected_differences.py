"""Differences that a user accepts: predicted from Keras' side, so that only the rest counts."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.conventions import check_names
from compare.errors import InputError
from compare.parity.accepted import ALLOWABLE
from compare.parity.explain.evidence import statistics_update
from compare.trace import Trace


def check_allowed(names: Collection[str]) -> None:
    """Raise unless every name is a convention whose effect can be predicted.

    Raises:
        InputError: A name is unknown, or its effect cannot be predicted.
    """
    check_names(names)
    for name in names:
        if name not in ALLOWABLE:
            raise InputError(
                f"allow: the effect of {name!r} cannot be predicted, so it would hide other "
                f"differences: expected names from {', '.join(ALLOWABLE)}. Apply its remedy "
                f"instead: `bn-compare conventions {name}`."
            )


def predicted(keras: Trace, torch: Trace, allow: Collection[str]) -> Trace:
    """Keras' trace as Torch would have computed it, if it differed only in the allowed ways.

    Every step of Torch's, and its evaluation, starts from Keras' statistics: a difference is that
    of one step, and never adds up.

    Args:
        keras: Keras' trace.
        torch: Torch's trace, of which only the decay is read.
        allow: Names from `ALLOWABLE`.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for layer in keras.layers:
        if layer["kind"] == "batch_norm" and f"training/{layer['name']}/input" in keras:
            arrays |= _statistics(keras, torch, layer["name"], allow)
    return keras.viewed({key: partial(_instead, array) for key, array in arrays.items()})


def _instead(predicted: NDArray[Any], computed: NDArray[Any]) -> NDArray[Any]:
    return predicted


def _statistics(
    keras: Trace, torch: Trace, name: str, allow: Collection[str]
) -> dict[str, NDArray[Any]]:
    """The moving statistics of one layer after every step, under the allowed conventions."""
    update = statistics_update(keras, name)
    unbiased = "bn-biased-variance" in allow
    decay = update.decay
    if {"bn-momentum", "bn-momentum-copied"} & set(allow):
        with suppress(LookupError):  # Torch's trace ended before: the report shows its error.
            decay = statistics_update(torch, name).decay
    factor = {"moving_mean": 1.0, "moving_variance": update.unbiasing if unbiased else 1.0}
    arrays = {}
    for tensor, times in factor.items():
        before = np.asarray(keras[f"initial/{name}/{tensor}"], dtype=np.float64)
        for step in range(1, keras.steps + 1):
            key = f"step/{step}/statistics/{name}/{tensor}"
            after = predicted = np.asarray(keras[key], dtype=np.float64)
            if update.decay < 1.0:
                batch = (after - update.decay * before) / (1.0 - update.decay)
                predicted = decay * before + (1.0 - decay) * times * batch
            arrays[key] = predicted.astype(keras[key].dtype)
            before = after
    return arrays
