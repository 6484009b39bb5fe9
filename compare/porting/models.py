"""The two sides of any pair, alive: a Keras model, and a Torch module with what trains it."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from compare.backends import protocol
from compare.errors import InputError
from compare.trace import Trace, TraceWriter

Structure = Any
"""An array, or a tuple, list or dict of structures."""


def map_leaves(function: Callable[[Any], Any], structure: Structure) -> Structure:
    """The same structure with a function applied to every array."""
    if isinstance(structure, Mapping):
        return {key: map_leaves(function, part) for key, part in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(map_leaves(function, part) for part in structure))
    if isinstance(structure, tuple | list):
        return type(structure)(map_leaves(function, part) for part in structure)
    return function(structure)


def leaves(structure: Structure, name: str) -> Iterator[tuple[str, Any]]:
    """Every array with its name: `x`, `x/0`, `x/image`."""
    parts: Iterable[tuple[Any, Any]]
    if isinstance(structure, Mapping):
        parts = structure.items()
    elif isinstance(structure, tuple | list):
        parts = enumerate(structure)
    else:
        yield name, structure
        return
    for key, part in parts:
        yield from leaves(part, f"{name}/{key}")


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
        told = ", ".join(f"{leaf} {count}" for leaf, count in counts.items())
        raise InputError(f"{name}: expected as many samples in every array, received {told}.")

    def cast(value: Any) -> NDArray[Any]:
        array = np.asarray(value)
        return array.astype(dtype) if array.dtype.kind == "f" else array

    return map_leaves(cast, structure)


def samples(structure: Structure, count: int) -> Structure:
    """The first samples of every array."""
    return map_leaves(lambda array: array[:count], structure)


def digest(structure: Structure, name: str) -> str:
    """SHA-256 over every array's name, dtype, shape and values."""
    found = hashlib.sha256()
    for leaf, array in leaves(structure, name):
        found.update(f"{leaf} {array.dtype.str} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


Batches = Sequence[tuple[Structure, Structure | None]]
Objective = tuple[Callable[[Any, Any], Any] | None, Callable[[Any], Any] | None]
"""`loss(output, target)` and `optimizer(parameters)` of a plain Torch module, where it has them."""


class Side(Protocol):
    """One side of a pair, alive."""

    def trace(self, batches: Batches, folder: Path) -> Trace:
        """Training steps and an evaluation, as `compare.trace` describes them.

        Raises:
            InputError: The side cannot be traced.
        """
        ...

    def training(self) -> dict[str, Any]:
        """Settings of `optimizer` and `loss`, as far as they can be read."""
        ...

    def write(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set every weight, by this side's own names."""
        ...

    def refuse_randomness(self) -> None:
        """Raise `InputError` if a part of it draws numbers while it trains."""
        ...

    def repeats(self, x: Structure) -> bool:
        """Whether it computes the same twice in training mode."""
        ...


@dataclass(frozen=True)
class KerasSide:
    """A Keras model.

    Attributes:
        model: A built model; compiled where it is to be trained.
    """

    model: Any

    def trace(self, batches: Batches, folder: Path) -> Trace:
        """See `Side.trace`."""
        with _in_its_dtype("keras", self.model):
            return _traced(partial(_adapter("keras").trace, self.model, batches), folder)

    def training(self) -> dict[str, Any]:
        """See `Side.training`."""
        return {
            "optimizer": _adapter("keras").optimizer_settings(self.model),
            "loss": _adapter("keras").loss_settings(self.model),
        }

    def write(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """See `Side.write`."""
        with usable():
            _adapter("keras").write_weights(self.model, weights)

    def refuse_randomness(self) -> None:
        """See `Side.refuse_randomness`."""
        _refuse("Keras", _adapter("keras").random_parts(self.model), _KERAS_REMEDY)

    def repeats(self, x: Structure) -> bool:
        """See `Side.repeats`."""
        with _in_its_dtype("keras", self.model):
            return bool(_adapter("keras").repeats(self.model, x))

    def evaluate(
        self,
        values: Mapping[str, NDArray[Any]],
        x: Structure,
        sink: Callable[[str, NDArray[Any]], None],
    ) -> None:
        """Record one evaluation with some tensors replaced; the model is left as it is."""
        with _in_its_dtype("keras", self.model):
            _adapter("keras").evaluate(self.model, values, x, sink)


@dataclass(frozen=True)
class TorchSide:
    """A Torch module.

    Attributes:
        module: A LightningModule, or a plain module with an objective where it is to be trained.
        objective: Loss and optimizer of a plain module.
        to_torch: Puts samples into the module's layout; None for the usual one.
    """

    module: Any
    objective: Objective | None = None
    to_torch: Callable[[Structure], Structure] | None = None

    def trace(self, batches: Batches, folder: Path) -> Trace:
        """See `Side.trace`."""
        return _traced(partial(self.stream, batches), folder)

    def stream(self, batches: Batches, sink: Callable[[str, NDArray[Any]], None]) -> Any:
        """The same, handed to a sink array by array; returns the layers."""
        options = {"objective": self.objective, "to_torch": self.to_torch}
        with _in_its_dtype("torch", self.module):
            return _adapter("torch").trace_any(self.module, batches, sink, **options)

    def training(self) -> dict[str, Any]:
        """See `Side.training`."""
        arguments = self.module, self.objective
        return {
            "optimizer": _adapter("torch").optimizer_settings(*arguments),
            "loss": _adapter("torch").loss_settings(*arguments),
        }

    def write(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """See `Side.write`."""
        with usable():
            _adapter("torch").write_weights(self.module, weights)

    def refuse_randomness(self) -> None:
        """See `Side.refuse_randomness`."""
        _refuse("Torch", _adapter("torch").random_parts(self.module), _TORCH_REMEDY)

    def repeats(self, x: Structure) -> bool:
        """See `Side.repeats`."""
        with _in_its_dtype("torch", self.module):
            return bool(_adapter("torch").repeats(self.module, x, to_torch=self.to_torch))

    def perturbed(self, rng: np.random.Generator) -> TorchSide | None:
        """A copy whose every weight is one unit in the last place off; None if none can be made."""
        try:
            module = copy.deepcopy(self.module)
        # It keeps a tensor with its graph, or what cannot be pickled.
        except (RuntimeError, TypeError):
            return None
        adapter = _adapter("torch")
        weights = adapter.read_weights(module)
        adapter.write_weights(module, {name: jog(w, rng) for name, w in weights.items()})
        return replace(self, module=module)


_KERAS_REMEDY = "build the model without them, or with rates and deviations of zero, for the check"
_TORCH_REMEDY = "set p=0.0 for the check, or leave them out"


def jog(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Every floating value moved to its neighbour, up or down; whole numbers as they are."""
    if array.dtype.kind != "f":
        return array
    towards = np.where(rng.integers(0, 2, array.shape), np.inf, -np.inf).astype(array.dtype)
    moved = np.nextafter(array, towards)
    # The neighbour of zero is no rounding error, and what is zero stays so.
    return np.where(array == 0, array, moved)


def jogged(batches: Batches, rng: np.random.Generator) -> Batches:
    """The same batches, samples one unit in the last place off."""
    return [(map_leaves(lambda a: jog(np.asarray(a), rng), x), y) for x, y in batches]


def _refuse(side: str, parts: Sequence[str], remedy: str) -> None:
    if parts:
        raise InputError(
            f"the {side} side draws random numbers while it trains: {', '.join(parts)}. Two "
            f"frameworks never draw the same ones: {remedy}."
        )


def _adapter(name: str) -> Any:
    return protocol.load(name)


def _traced(trace: Callable[[TraceWriter], Any], folder: Path) -> Trace:
    writer = TraceWriter(folder)
    with usable():
        return writer.close(trace(writer))


@contextmanager
def _in_its_dtype(name: str, model: Any) -> Iterator[None]:
    """What a framework makes meanwhile is in the model's dtype, as where the model was built.

    A copy of an optimizer, or a constant in a training step, would be rounded to float32 else.
    """
    with usable():
        dtype = _adapter(name).dtype_of(model)
    with _adapter(name).building(dtype):
        yield


@contextmanager
def usable() -> Iterator[None]:
    """What an adapter says of a model that it cannot use is a message for the user.

    The framework's own traceback is not shown above it; `__context__` has it.
    """
    try:
        yield
    except protocol.UNUSABLE as error:
        raise InputError(str(error)) from None


_MADE_UP = 4
"""Samples that are made up where none are given: enough to see what runs, and in which order."""

_EXPECTED = {"keras": "keras.Model", "torch": "torch.nn.Module"}


@dataclass(frozen=True)
class LivePair:
    """Two models that can be run.

    Attributes:
        keras: Keras' side.
        torch: Torch's side.
        x: Samples in the dtype of both.
        dtype: `"float32"` or `"float64"`.
    """

    keras: KerasSide
    torch: TorchSide
    x: Structure
    dtype: str


def live(
    keras_model: Any,
    torch_module: Any,
    x: Structure | None = None,
    *,
    dtype: str | None = None,
    objective: Objective | None = None,
    to_torch: Callable[[Structure], Structure] | None = None,
) -> LivePair:
    """Build what is to be built, and check that both compute in one dtype.

    Args:
        keras_model: A Keras model, or a function that returns one.
        torch_module: A Torch module, or a function that returns one.
        x: Samples in Keras' layout; None to make some up from the Keras model's inputs.
        dtype: `"float32"` or `"float64"`; None for float64 where a function builds a model, else
            for the Keras model's.
        objective: Loss and optimizer of a plain Torch module.
        to_torch: Puts samples into the module's layout.

    Raises:
        InputError: A model or the samples cannot be used.
        MissingDependencyError: Keras or Torch is not installed.
    """
    __tracebackhide__ = True
    if dtype is None and (is_factory(keras_model) or is_factory(torch_module)):
        dtype = "float64"
    models = {
        "keras": built("keras", keras_model, dtype),
        "torch": built("torch", torch_module, dtype),
    }
    with usable():
        found = _common(models, dtype)
        if x is None:
            x = _adapter_live("keras").sample_input(models["keras"], _MADE_UP, 0)
    torch = TorchSide(models["torch"], objective, to_torch)
    return LivePair(KerasSide(models["keras"]), torch, checked("x", x, found), found)


def is_factory(given: Any) -> bool:
    """Whether something is to be called for a model: a function or a class, and no model."""
    return inspect.isroutine(given) or inspect.isclass(given) or isinstance(given, partial)


def built(name: str, given: Any, dtype: str | None) -> Any:
    """A model as it is, or what a function builds in a dtype.

    Args:
        name: `"keras"` or `"torch"`.
        given: A model of that framework, or a function without arguments that returns one.
        dtype: What a function builds in; not looked at for a model.

    Raises:
        InputError: It is no model of the framework, or the function returned none.
    """
    __tracebackhide__ = True
    adapter = _adapter_live(name)
    if is_factory(given):
        _check_dtype(dtype)
        with adapter.building(dtype):
            model = given()
        if not adapter.is_model(model):
            raise InputError(
                f"{getattr(given, '__name__', given)}: expected to return a {_EXPECTED[name]}, "
                f"received {type(model).__name__}."
            )
        return model
    if not adapter.is_model(given):
        raise InputError(
            f"expected a {_EXPECTED[name]} or a function that returns one, received "
            f"{type(given).__name__}."
        )
    return given


def _common(models: Mapping[str, Any], asked: str | None) -> str:
    expected = asked or str(_adapter_live("keras").dtype_of(models["keras"]))
    for name, model in models.items():
        check_dtype(name, model, expected)
    return expected


def check_dtype(name: str, model: Any, expected: str) -> None:
    """Raise `InputError` unless a model computes in a dtype.

    Args:
        name: `"keras"` or `"torch"`.
        model: A model of that framework.
        expected: `"float32"` or `"float64"`.
    """
    _check_dtype(expected)
    with usable():
        dtype = _adapter_live(name).dtype_of(model)
    if dtype != expected:
        side = {"keras": "Keras model", "torch": "Torch module"}[name]
        raise InputError(
            f"the {side} computes in {dtype}, expected {expected}: build both in one dtype "
            "(keras.config.set_floatx and set_dtype_policy before building; module.to)."
        )


def _check_dtype(dtype: str | None) -> None:
    if dtype not in ("float32", "float64"):
        raise InputError(f"dtype: expected float32 or float64, received {dtype!r}.")


def _adapter_live(name: str) -> Any:
    return cast(Any, protocol.load(name))
