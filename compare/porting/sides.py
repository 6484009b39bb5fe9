"""The two sides of any pair, alive: a Keras model, and a Torch module with what trains it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from compare.backends import protocol
from compare.errors import InputError
from compare.porting.structures import Structure, map_leaves
from compare.traces import Trace, TraceWriter

Batches = Sequence[tuple[Structure, Structure | None]]
Objective = tuple[Callable[[Any, Any], Any] | None, Callable[[Any], Any] | None]
"""`loss(output, target)` and `optimizer(parameters)` of a plain Torch module, where it has them."""


class Side(Protocol):
    """One side of a pair, alive."""

    def trace(self, batches: Batches, folder: Path) -> Trace:
        """Training steps and an evaluation, as `compare.traces` describes them.

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
