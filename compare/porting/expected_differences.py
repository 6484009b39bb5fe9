"""Differences that a user accepts: predicted from Keras' side, so that only the rest counts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.conventions import check_names
from compare.errors import InputError
from compare.parity.accepted import ALLOWABLE, STATISTICS
from compare.parity.explain.evidence import statistics_update
from compare.parity.explain.steps import Allowed
from compare.parity.ladder import nan_last
from compare.parity.tolerances import Gap, gap, unequal
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


_SETS = (
    (),
    ("bn-biased-variance",),
    # What is a number of its own comes before what is fitted.
    ("bn-momentum-copied",),
    ("bn-momentum",),
    ("bn-biased-variance", "bn-momentum-copied"),
    ("bn-biased-variance", "bn-momentum"),
)
"""Conventions that may account for the moving statistics of a layer, the fewest first."""

_Arrays = Mapping[str, NDArray[Any]]

_Prediction = tuple[Collection[str], _Arrays, Mapping[str, Gap]]
"""Conventions, the statistics that they make, and how far each array is from Torch's."""


class ExpectedStatistics:
    """Moving statistics as Torch would have computed them, if it differed only in allowed ways.

    Every step of Torch's, and its evaluation, starts from Keras' statistics: a difference is that
    of one step, and never adds up. In each layer the fewest conventions that account for what Torch
    has are taken, so that one is accepted only where something differs by it.

    Args:
        keras: Keras' trace.
        torch: Torch's trace, with Keras' layer names and layouts.
        allow: Names from `ALLOWABLE`.
    """

    def __init__(self, keras: Trace, torch: Trace, allow: Collection[str]) -> None:
        self._keras = keras
        sets = [names for names in _SETS if set(names) <= set(allow)]
        self._layers = [
            _predictions(keras, torch, layer["name"], sets)
            for layer in keras.layers
            if len(sets) > 1
            and layer["kind"] == "batch_norm"
            and f"training/{layer['name']}/input" in keras
        ]

    def trace(self, allowed: Allowed) -> Trace:
        """Keras' trace with these statistics.

        Args:
            allowed: Name of an array → tolerance.
        """
        arrays = (arrays for names, arrays, _ in self._chosen(allowed) if names)
        views = {key: partial(_instead, array) for each in arrays for key, array in each.items()}
        return self._keras.viewed(views)

    def accepted(self, allowed: Allowed) -> list[str]:
        """The conventions by which they differ from Keras', in any layer."""
        used = {name for names, *_ in self._chosen(allowed) for name in names}
        return [name for name in STATISTICS if name in used]

    def _chosen(self, allowed: Allowed) -> Iterator[_Prediction]:
        """Of each layer the first prediction that holds, else the nearest."""
        for predictions in self._layers:
            holding = (
                prediction
                for prediction in predictions
                if all(gap.within(allowed(key)) for key, gap in prediction[-1].items())
            )
            yield next(holding, None) or min(predictions, key=_worst)


def _worst(prediction: _Prediction) -> float:
    return max(nan_last(gap.required) for gap in prediction[-1].values())


def _instead(predicted: NDArray[Any], computed: NDArray[Any]) -> NDArray[Any]:
    return predicted


def _predictions(
    keras: Trace, torch: Trace, name: str, sets: Sequence[Collection[str]]
) -> list[_Prediction]:
    """The moving statistics of one layer after every step, under each set of conventions."""
    update = statistics_update(keras, name)
    decays = {"bn-momentum-copied": 1.0 - update.decay}
    with suppress(LookupError):  # Torch's trace ended before: the report shows its error.
        decays["bn-momentum"] = statistics_update(torch, name).decay

    def predict(names: Collection[str]) -> _Arrays:
        decay = next((decays[name] for name in names if name in decays), update.decay)
        unbiasing = update.unbiasing if "bn-biased-variance" in names else 1.0
        arrays = {}
        for tensor, times in (("moving_mean", 1.0), ("moving_variance", unbiasing)):
            before = np.asarray(keras[f"initial/{name}/{tensor}"], dtype=np.float64)
            for step in range(1, keras.steps + 1):
                key = f"step/{step}/statistics/{name}/{tensor}"
                after = predicted = np.asarray(keras[key], dtype=np.float64)
                if names and update.decay < 1.0:
                    batch = (after - update.decay * before) / (1.0 - update.decay)
                    predicted = decay * before + (1.0 - decay) * times * batch
                arrays[key] = predicted.astype(keras[key].dtype)
                before = after
        return arrays

    def gaps(arrays: _Arrays) -> dict[str, Gap]:
        missing = unequal("missing in Torch")
        return {
            key: gap(array, torch[key]) if key in torch else missing
            for key, array in arrays.items()
        }

    predicted = ((names, predict(names)) for names in sets)
    return [(names, arrays, gaps(arrays)) for names, arrays in predicted]
