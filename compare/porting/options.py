"""What two models are compared on, and how: samples, targets and options, all of them checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.protocol import NAMES, Batches, Objective
from compare.backends.structures import Structure, leaves, mapped
from compare.environment import available_cores
from compare.errors import InputError, unknown
from compare.porting.expected_differences import check_allowed

RANDOMNESS = ("shared", "off", "refuse")
"""What is done where models draw numbers: both get the same, rates are zero, or nothing is done."""


DEFAULT_THREADS = max(1, available_cores() // 2)
"""Half of the cores: a busy neighbour then cannot hurt."""


def checked(name: str, structure: Structure, dtype: str) -> Structure:
    """The same structure of arrays, floating ones in a dtype.

    Args:
        name: What it is called in messages: `"x"`.
        structure: Arrays or what NumPy makes arrays of, all with as many samples along axis 0.
        dtype: `"float32"` or `"float64"`.

    Raises:
        InputError: An array is empty, holds no numbers, or one that is not finite; or the numbers
            of samples differ.
    """
    counts = {}
    for leaf, value in leaves(structure, name):
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise InputError(f"{leaf}: expected an array of numbers, received dtype {array.dtype}.")
        if array.ndim == 0 or len(array) == 0:
            raise InputError(f"{leaf}: expected at least one sample, received shape {array.shape}.")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{leaf}: expected finite numbers, received NaN or infinity.")
        counts[leaf] = len(array)
    if len(set(counts.values())) > 1:
        text = ", ".join(f"{leaf} {count}" for leaf, count in counts.items())
        raise InputError(f"{name}: expected as many samples in every array, received {text}.")

    def cast(value: Any) -> NDArray[Any]:
        array = np.asarray(value)
        return array.astype(dtype) if array.dtype.kind == "f" else array

    return mapped(cast, structure)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `compare.check_parity`, described there.

    Raises:
        InputError: An option cannot be used.
    """

    torch_loss: Callable[[Any, Any], Any] | None = None
    torch_optimizer: Callable[[Any], Any] | None = None
    steps: int = 2
    dtype: str | None = None
    pairs: Mapping[str, str] | None = None
    to_torch: Callable[[Structure], Structure] | None = None
    allow: Collection[str] = ()
    weights_from: str | None = None
    tolerances: Mapping[str, float] | None = None
    randomness: str = "shared"
    strict: bool = False
    threads: int = DEFAULT_THREADS

    def __post_init__(self) -> None:
        for name, count in (("steps", self.steps), ("threads", self.threads)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InputError(
                    f"{name}: expected a whole number of at least 1, received {count!r}."
                )
        if isinstance(self.allow, str):
            raise InputError(
                f'allow: expected a list, such as ["{self.allow}"], received a string.'
            )
        for name, values, example in (
            ("pairs", self.pairs, '{"keras_layer": "torch.module"}'),
            ("tolerances", self.tolerances, '{"layer/kernel": 1e-8}'),
        ):
            if values is not None and not isinstance(values, Mapping):
                raise InputError(
                    f"{name}: expected a dict, such as {example}, received {values!r}."
                )
        for name, tolerance in (self.tolerances or {}).items():
            if not isinstance(tolerance, int | float) or not 0.0 <= tolerance < math.inf:
                raise InputError(
                    f"tolerances: expected a number of at least 0 for {name!r}, received "
                    f"{tolerance!r}."
                )
        check_allowed(self.allow)
        if self.weights_from not in (None, *NAMES):
            raise unknown("weights_from", str(self.weights_from), NAMES)
        if self.randomness not in RANDOMNESS:
            raise unknown("randomness", str(self.randomness), RANDOMNESS)

    @property
    def objective(self) -> Objective | None:
        """Loss and optimizer of a plain module; None where there is neither."""
        if self.torch_loss is None and self.torch_optimizer is None:
            return None
        return self.torch_loss, self.torch_optimizer

    def request(self, x: Structure, y: Structure | None, dtype: str) -> Request:
        """What both sides compute.

        Args:
            x: Samples.
            y: Targets, or None.
            dtype: The dtype of both sides.

        Raises:
            InputError: Samples or targets cannot be used.
        """
        targets = None if y is None else checked("y", y, dtype)
        return Request(checked("x", x, dtype), targets, dtype, self)


@dataclass(frozen=True)
class Request:
    """What both sides compute, and how it is compared.

    Attributes:
        x: Samples, in Keras' layout.
        y: Targets; None to compare without training.
        dtype: `"float32"` or `"float64"`.
        options: The user's options.
    """

    x: Structure
    y: Structure | None
    dtype: str
    options: Options

    @property
    def batches(self) -> Batches:
        """Each training step sees all samples; without targets there is one forward pass."""
        return [(self.x, self.y)] * (1 if self.y is None else self.options.steps)
