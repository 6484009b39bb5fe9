"""What two models are compared on, and how: samples, targets and options, all of them checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.loading import NAMES
from compare.backends.protocol import Batches, Objective
from compare.backends.structures import Structure, Weighted, leaves, mapped
from compare.environment import available_cores
from compare.errors import InputError, unknown
from compare.porting.expected_differences import check_allowed
from compare.progress import Listener, Progress

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
        InputError: There is no array; one is empty, or holds what is no finite number; or the
            numbers of samples differ.
    """
    counts = {}
    for leaf, value in leaves(structure, name):
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            what = f"dtype {array.dtype}" if array.ndim else type(value).__name__
            raise InputError(f"{leaf}: expected an array of numbers, received {what}.")
        if array.ndim == 0:
            raise InputError(
                f"{leaf}: expected an array, received {type(value).__name__}: pass a list of "
                "numbers as np.asarray(…); a list or tuple of arrays stands for several inputs."
            )
        if len(array) == 0:
            raise InputError(f"{leaf}: expected at least one sample, received shape {array.shape}.")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{leaf}: expected finite numbers, received NaN or infinity.")
        counts[leaf] = len(array)
    if not counts:
        raise InputError(f"{name}: expected at least one array, received {structure!r}.")
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

    torch_loss: Callable[..., Any] | None = None
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
    progress: bool | Listener = False
    sample_weight: Any = None
    class_weight: Mapping[int, float] | None = None

    def __post_init__(self) -> None:
        for name, count in (("steps", self.steps), ("threads", self.threads)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InputError(
                    f"{name}: expected a whole number of at least 1, received {count!r}."
                )
        if not isinstance(self.progress, bool) and not callable(self.progress):
            raise InputError(
                f"progress: expected True, False or a function, received {self.progress!r}."
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
        samples = checked("x", x, dtype)
        if y is None:
            self._refuse_weights("there are no targets: pass y")
            return Request(samples, None, dtype, self)
        targets = checked("y", y, dtype)
        count, others = (next(len(leaf) for _, leaf in leaves(part)) for part in (samples, targets))
        if others != count:
            raise InputError(f"y: expected {count} samples, as in x, received {others}.")
        weights = None
        if self.sample_weight is not None:
            weights = checked("sample_weight", self.sample_weight, dtype)
            if np.shape(weights) != (count,):
                raise InputError(
                    f"sample_weight: expected a number for each of {count} samples, received "
                    f"shape {np.shape(weights)}."
                )
        if self.class_weight is not None:
            if weights is not None:
                self._refuse_weights("both at once: multiply sample_weight by the class's weight")
            weights = _by_class(targets, self.class_weight, dtype)
        return Request(samples, targets, dtype, self, weights)

    def _refuse_weights(self, why: str) -> None:
        given = {"sample_weight": self.sample_weight, "class_weight": self.class_weight}
        names = [name for name, value in given.items() if value is not None]
        if names:
            raise InputError(f"{' and '.join(names)}: {why}.")


def _by_class(targets: Structure, weights: Mapping[int, float], dtype: str) -> NDArray[Any]:
    """The weight of each sample, as `model.fit` finds it: by its label, or its largest target."""
    if not isinstance(targets, np.ndarray) or targets.ndim > 2:
        raise InputError("class_weight: expected targets of classes, (n,), (n, 1) or (n, classes).")
    one_hot = targets.ndim == 2 and targets.shape[1] > 1
    labels = (targets.argmax(-1) if one_hot else targets.reshape(-1)).astype(int)
    # What has no weight counts once, as in Keras.
    return np.array([weights.get(int(label), 1.0) for label in labels], dtype=dtype)


@dataclass(frozen=True)
class Request:
    """What both sides compute, and how it is compared.

    Attributes:
        x: Samples, in Keras' layout.
        y: Targets; None to compare without training.
        dtype: `"float32"` or `"float64"`.
        options: The user's options.
        weights: What each sample's loss is multiplied by, (n,); None for nothing.
        progress: Says what is under way.
    """

    x: Structure
    y: Structure | None
    dtype: str
    options: Options
    weights: NDArray[Any] | None = None
    progress: Progress = field(default_factory=Progress)

    def targets(self, side: str) -> Structure | None:
        """What a side, `"keras"` or `"torch"`, is trained on: targets, with weights if it has any.

        In Torch the weights of classes are the port's own affair: they are a part of its loss.
        """
        own = side == "keras" or self.options.class_weight is None
        return self.y if self.weights is None or not own else Weighted(self.y, self.weights)

    def batches(self, side: str) -> Batches:
        """Each training step sees all samples; without targets there is one forward pass."""
        return [(self.x, self.targets(side))] * (1 if self.y is None else self.options.steps)
