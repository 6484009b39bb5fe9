"""How the axes of an array of one framework stand in the other: channels, time, flattened images.

Which of the reorderings that fit the shapes it is, only values can tell: see `nearest`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
"""Of any dtype: samples may be whole numbers, and what falls on them zeros and ones."""

_PROBES = 4096
"""Places at which two arrays are compared: enough to tell a few dozen reorderings apart."""

_CLEARLY = 0.5
"""Half as far is clearly nearer, even where an earlier difference blurs both."""

_ALIKE = 0.05
"""Mean difference relative to the spread below which two arrays are the same values: far above what
an epsilon or rounding costs, far below what another order costs, which is above 0.5."""


@dataclass(frozen=True)
class Reordering:
    """Keras' array as Torch holds it: an axis split in two, axes transposed, and merged again.

    Attributes:
        split: Shape of Keras' array once its axes are split.
        axes: Which of these axes stands at each place.
        shape: Torch's.
    """

    split: tuple[int, ...]
    axes: tuple[int, ...]
    shape: tuple[int, ...]

    def __call__(self, array: Values) -> Values:
        """An array in Torch's reordering."""
        return array.reshape(self.split).transpose(self.axes).reshape(self.shape)

    @property
    def moved(self) -> tuple[int, ...]:
        """The order of the axes that are longer than one."""
        return tuple(axis for axis in self.axes if self.split[axis] > 1)

    def numbers(self, values: Values, shape: Sequence[int]) -> Values | None:
        """What falls on Keras' array, as it falls on Torch's; None where it cannot.

        Args:
            values: One per value of Keras' array, or along axes of length one for all of an axis.
            shape: Shape of what is returned: as many numbers as `values`.
        """
        if values.size != math.prod(shape):
            return None  # One number for all of an axis on one side alone: another kind of draw.
        if values.size == math.prod(self.split):
            return self(values).reshape(shape)
        if values.ndim == len(self.split):
            return values.transpose(self.axes).reshape(shape)
        return values.reshape(shape)


def reorderings(keras: Sequence[int], torch: Sequence[int]) -> Iterator[Reordering]:
    """Every reordering between two shapes of as many values, the most usual first.

    Args:
        keras: Shape in Keras.
        torch: Shape in Torch.
    """
    ours, theirs = tuple(keras), tuple(torch)
    if math.prod(ours) != math.prod(theirs):
        return
    rank = len(ours)
    others = permutations(range(rank)) if rank <= 5 else iter(())
    orders = dict.fromkeys([*_usual(rank), *others])
    same_rank = len(theirs) == rank
    for axes in orders:
        # Where axes are merged or split, their product is what has to fit.
        if not same_rank or tuple(ours[axis] for axis in axes) == theirs:
            yield Reordering(ours, axes, theirs)
    if ours == theirs and rank == 2:
        features = ours[1]
        for channels in range(2, features // 2 + 1):
            if features % channels == 0:
                split = (ours[0], features // channels, channels)
                yield Reordering(split, (0, 2, 1), theirs)
    elif same_rank:
        yield Reordering(ours, tuple(range(rank)), theirs)


def usual(keras: Sequence[int], torch: Sequence[int]) -> list[Reordering]:
    """Those of the reorderings between two shapes that people use, without those that are alike.

    As it is, channels last to channels first, samples first to time first.

    Args:
        keras: Shape in Keras.
        torch: Shape in Torch.
    """
    ours, theirs = tuple(keras), tuple(torch)
    orders = _usual(len(ours))
    if math.prod(ours) != math.prod(theirs):
        return []
    if len(ours) != len(theirs):
        return [Reordering(ours, orders[0], theirs)]
    fitting = [axes for axes in orders if tuple(ours[axis] for axis in axes) == theirs]
    different = {each.moved: each for each in (Reordering(ours, a, theirs) for a in fitting)}
    return list(different.values())


def _usual(rank: int) -> list[tuple[int, ...]]:
    identity = tuple(range(rank))
    if rank < 3:
        return [identity]
    return [identity, (0, rank - 1, *range(1, rank - 1)), (1, 0, *range(2, rank))]


def nearest(candidates: Sequence[Reordering], keras: Values, torch: Values) -> Reordering:
    """The reordering by which two arrays agree best; the first unless another is clearly nearer.

    Args:
        candidates: At least one, the most usual first.
        keras: Keras' array.
        torch: Torch's, with as many values.
    """
    first = candidates[0]
    best = min(candidates, key=lambda candidate: _distance(candidate, keras, torch))
    clearly = _distance(best, keras, torch) < _CLEARLY * _distance(first, keras, torch)
    return best if clearly else first


def agreeing(reordering: Reordering, keras: Values, torch: Values) -> bool:
    """Whether two arrays hold the same values in a reordering."""
    spread = float(np.abs(keras - keras.mean()).mean()) if keras.size else 0.0
    distance = _distance(reordering, keras, torch)
    return distance <= _ALIKE * spread if spread > 0.0 else distance == 0.0


def _distance(reordering: Reordering, keras: Values, torch: Values) -> float:
    """Mean difference, at places that are spread over the whole."""
    if not keras.size:
        return 0.0
    places = _probes(keras.size)
    moved = [reordering.split[axis] for axis in reordering.axes]
    index = np.unravel_index(places, moved)
    back = [index[reordering.axes.index(axis)] for axis in range(len(moved))]
    ours = keras.reshape(reordering.split)[tuple(back)]
    theirs = torch.reshape(-1)[places]
    return float(np.abs(np.subtract(ours, theirs, dtype=np.float64)).mean())


def _probes(size: int) -> NDArray[np.int64]:
    if size <= _PROBES:
        return np.arange(size)
    return np.random.default_rng(size).integers(0, size, _PROBES)
