"""Tracing models that draw random numbers: Keras' side draws, and Torch's gets the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from compare.backends.draws import Draws, SharedDraws, rehearsed
from compare.backends.protocol import Batches
from compare.errors import InputError
from compare.porting.models import Side, TorchSide
from compare.porting.options import Request
from compare.porting.same_start import SoFar, Starting
from compare.trace import Layer, Trace


def traced(
    side: Side, request: Request, folder: Path, starting: Starting | None, keras: Trace | None
) -> tuple[Side, Trace]:
    """The trace of a side, and the side with what it draws from.

    Args:
        side: A side that is alive.
        request: What to trace, and what to do with what it draws.
        folder: Where the trace goes.
        starting: Makes what its later steps start from.
        keras: Keras' trace, where the side is Torch's.

    Raises:
        InputError: It draws what cannot be shared, or is not to draw at all.
    """
    if request.options.randomness != "shared":
        side = replace(side, undropped=request.options.randomness == "off")
        side.refuse_randomness()
        return side, side.trace(request.batches(side.name), folder, starting)
    side, trace = _shared(side, request.batches(side.name), folder, starting, keras)
    if side.draws is not None and side.draws.unshared:
        raise InputError(
            f"the {side.name.capitalize()} side draws random numbers that cannot be shared with "
            f"the other: {', '.join(side.draws.unshared)}. Leave that out for the check."
        )
    return side, trace


def shared_trace(side: Side, batches: Batches, folder: Path, keras: Trace | None = None) -> Trace:
    """The trace of a side that gets the numbers of its places; what it draws beside is no error.

    Args:
        side: A side that is alive.
        batches: Samples and targets of every step.
        folder: Where the trace goes.
        keras: Keras' trace, where the side is Torch's.
    """
    return _shared(side, batches, folder, None, keras)[1]


def _shared(
    side: Side, batches: Batches, folder: Path, starting: Starting | None, keras: Trace | None
) -> tuple[Side, Trace]:
    if not isinstance(side, TorchSide):
        side = replace(side, draws=Draws())
        return side, side.trace(batches, folder, starting)
    first = Draws() if keras is None else Draws.read(keras)
    if not first.drawn and not side.framework.random_parts(side.model):
        # Nothing is in the way of a module that draws nothing: almost all of them.
        watching = _Watching(side)
        trace = side.trace(batches, folder, watching.around(starting))
        if not watching.drew:
            return side, trace

    def run(draws: SharedDraws) -> None:
        rehearsing = replace(side, draws=draws).during("pairing random numbers")
        rehearsing.stream(batches[:1], _Nowhere())

    sharing = replace(side, draws=rehearsed(first, run))
    return sharing, sharing.trace(batches, folder, starting)


class _Nowhere:
    """A sink that keeps nothing."""

    def __call__(self, name: str, array: NDArray[Any]) -> None:
        pass

    def alias(self, name: str, existing: str) -> None:
        """Keep nothing of this either."""


class _Watching:
    """Sees whether a module's steps draw numbers.

    Attributes:
        drew: Whether any step did.
    """

    def __init__(self, side: TorchSide) -> None:
        self._side = side
        self._state: bytes | None = None
        self.drew = False

    def around(self, starting: Starting | None) -> Starting:
        """What steps start from, which is asked for before every step."""

        def starting_watched(so_far: SoFar) -> Any:
            start = None if starting is None else starting(so_far)

            def watched(step: int, layers: Sequence[Layer]) -> Mapping[str, NDArray[Any]]:
                state = self._side.framework.random_state()
                self.drew = self.drew or (step > 1 and state != self._state)
                self._state = state
                return {} if start is None else start(step, layers)

            return watched

        return starting_watched
