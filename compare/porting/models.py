"""The two models of a pair, as they are or as functions build them, both in one dtype."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from compare.backends.draws import EVALUATION, Draws, SameDraws
from compare.backends.loading import load
from compare.backends.protocol import (
    UNUSABLE,
    Batches,
    Framework,
    KerasFramework,
    Objective,
    Sink,
    Start,
    TorchFramework,
)
from compare.backends.structures import Structure, mapped
from compare.errors import InputError
from compare.porting.options import Options, checked
from compare.porting.same_start import Starting
from compare.progress import Heard, Progress
from compare.trace import Layer, Operation, Trace, TraceWriter

FEW = 4
"""Samples enough to see what runs, in which order, and how a flattened image stands."""

_KIND = {"keras": "keras.Model", "torch": "torch.nn.Module"}


@dataclass(frozen=True)
class Side(ABC):
    """A model that can be run.

    Attributes:
        model: The model of its framework.
        draws: Where the numbers that it draws come from; None for its own.
        undropped: Whether dropout and noise are off.
        progress: Says what of it is under way.
    """

    name: ClassVar[str]
    without_randomness: ClassVar[str]
    """How to build the model for the check where parts of it draw numbers."""

    model: Any
    draws: Draws | None = field(default=None, kw_only=True)
    undropped: bool = field(default=False, kw_only=True)
    progress: Progress = field(default_factory=Progress, kw_only=True)

    @property
    def framework(self) -> Framework:
        """The framework's adapter."""
        return load(self.name)

    @property
    def dtype(self) -> str:
        """The dtype that the model computes in: `"float32"` or `"float64"`."""
        with usable():
            return self.framework.dtype_of(self.model)

    @abstractmethod
    def stream(self, batches: Batches, sink: Sink, start: Start | None = None) -> list[Layer]:
        """Hand training steps and an evaluation to a sink, as `compare.trace` describes them.

        Args:
            batches: Samples and targets of every step.
            sink: Receives every array under its name.
            start: What steps start from, if not from where the step before ended.

        Returns:
            The weighted layers, in the order in which they ran.

        Raises:
            InputError: The model cannot be traced.
        """

    @abstractmethod
    def real_step(self, x: Structure, y: Structure, sink: Sink) -> None:
        """Hand what one step leaves to a sink, taken as the user takes it.

        Raises:
            InputError: Training raised.
        """

    @abstractmethod
    def training(self) -> dict[str, Any]:
        """Settings of `optimizer` and `loss`, as far as they can be read."""

    @abstractmethod
    def operations(self, x: Structure) -> list[Operation]:
        """All that runs on a few samples, in order, weighted or not."""

    @abstractmethod
    def not_compared(self) -> list[str]:
        """What the model has, and no trace sees, in words."""

    @abstractmethod
    def repeats(self, x: Structure) -> bool:
        """Whether two training-mode passes agree exactly."""

    def trace(self, batches: Batches, folder: Path, starting: Starting | None = None) -> Trace:
        """The same as `stream`, written to a folder; `starting` makes what the steps start from.

        What was drawn is there as well.
        """
        writer = TraceWriter(folder)
        start = None if starting is None else starting(writer.so_far)
        layers = self.stream(batches, writer, start)
        for name, array in () if self.draws is None else self.draws.arrays():
            writer(name, array)
        return writer.close(layers)

    def write(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set every weight, by the names of this side's trace.

        Raises:
            InputError: A weight does not fit.
        """
        with usable():
            self.framework.write_weights(self.model, weights)

    def refuse_randomness(self) -> None:
        """Raise `InputError` if a part of the model draws numbers while it trains."""
        with self.running():
            parts = self.framework.random_parts(self.model)
        if parts:
            raise InputError(
                f"the {self.name.capitalize()} side draws random numbers while it trains: "
                f"{', '.join(parts)}. Two frameworks never draw the same ones: "
                f"{self.without_randomness}."
            )

    def refuse_unrepeatable(self, x: Structure) -> None:
        """Raise `InputError` if two training-mode passes differ: not all that draws can be seen."""
        self.progress("repeating a training pass")
        shared = self if self.draws is None else replace(self, draws=SameDraws())
        if not shared.repeats(x):
            raise InputError(
                f"the {self.name.capitalize()} side computes something else each time it runs in "
                "training mode: it draws random numbers, or keeps a state between calls. Leave "
                "that out for the check."
            )

    def check_dtype(self, expected: str) -> None:
        """Raise `InputError` unless the model computes in a dtype, `"float32"` or `"float64"`."""
        if _checked(expected) != self.dtype:
            model = {"keras": "Keras model", "torch": "Torch module"}[self.name]
            raise InputError(
                f"the {model} computes in {self.dtype}, expected {expected}: build both in one "
                "dtype (keras.config.set_floatx and set_dtype_policy before building; module.to)."
            )

    @contextmanager
    def in_its_dtype(self) -> Iterator[None]:
        """What the framework makes inside is in the model's dtype, as where the model was built.

        Else a copy of an optimizer, or a constant in a training step, would be rounded to float32.
        """
        with usable(), self.framework.building(self.dtype):
            yield

    def begin_step(self) -> None:
        """The first training step begins."""
        if self.draws is not None:
            self.draws.begin(1)

    @contextmanager
    def running(self) -> Iterator[None]:
        """In its dtype, with the numbers that it is to draw."""
        with self.in_its_dtype(), ExitStack() as stack:
            if self.draws is not None:
                self.draws.begin(None)
                stack.enter_context(self.framework.shared(self.model, self.draws))
            if self.undropped:
                stack.enter_context(self.framework.undropped(self.model))
            yield

    def during(self, task: str) -> Self:
        """The same side, whose progress is that of a task."""
        return replace(self, progress=self.progress.within(task))

    def followed(
        self, batches: Batches, sink: Sink, start: Start | None
    ) -> tuple[Sink, Start | None]:
        """A sink and a start by which progress and draws know where in a trace they are."""
        sink = self.progress.heard(sink, len(batches))
        if (draws := self.draws) is None:
            return sink, start

        def begin(step: int, layers: Sequence[Layer]) -> Mapping[str, NDArray[Any]]:
            draws.begin(step if step <= len(batches) else EVALUATION)
            return {} if start is None else start(step, layers)

        def place(name: str) -> None:
            if name.startswith(("training/", "evaluation/")):
                draws.after = name

        return Heard(sink, place), begin


@dataclass(frozen=True)
class KerasSide(Side):
    """A built Keras model; compiled where it is trained."""

    name: ClassVar = "keras"
    without_randomness: ClassVar = (
        "build the model without them, or with rates and deviations of zero, for the check"
    )

    @property
    def framework(self) -> KerasFramework:
        return load("keras")

    def stream(self, batches: Batches, sink: Sink, start: Start | None = None) -> list[Layer]:
        sink, start = self.followed(batches, sink, start)
        with self.running():
            return self.framework.trace(self.model, batches, sink, start=start)

    def real_step(self, x: Structure, y: Structure, sink: Sink) -> None:
        with self.running():
            self.begin_step()
            self.framework.real_step(self.model, x, y, sink)

    def training(self) -> dict[str, Any]:
        return {
            "optimizer": self.framework.optimizer_settings(self.model),
            "loss": self.framework.loss_settings(self.model),
        }

    def operations(self, x: Structure) -> list[Operation]:
        with self.in_its_dtype():
            return self.framework.operations(self.model, x)

    def not_compared(self) -> list[str]:
        return self.framework.not_compared(self.model)

    def repeats(self, x: Structure) -> bool:
        with self.running():
            return self.framework.repeats(self.model, x)


@dataclass(frozen=True)
class TorchSide(Side):
    """A LightningModule, or a plain module.

    Attributes:
        model: The module.
        objective: Loss and optimizer of a plain module that is trained.
        to_torch: Puts samples into the module's layout; None for the usual one.
    """

    name: ClassVar = "torch"
    without_randomness: ClassVar = "set p=0.0 for the check, or leave them out"

    objective: Objective | None = None
    to_torch: Callable[[Structure], Structure] | None = None

    @property
    def framework(self) -> TorchFramework:
        return load("torch")

    @property
    def is_lightning(self) -> bool:
        """Whether the module brings its own training step and optimizer."""
        return self.framework.is_lightning(self.model)

    def check_objective(self, y: Structure | None) -> None:
        """Raise `InputError` unless the module is trained by itself, or by a loss and an optimizer.

        Args:
            y: Targets; None where nothing is trained.
        """
        if self.is_lightning:
            if self.objective is not None:
                raise InputError(
                    "torch_loss and torch_optimizer are for a plain module: a LightningModule "
                    "brings its own training_step and configure_optimizers."
                )
        elif y is not None and (self.objective is None or None in self.objective):
            raise InputError(
                "a plain Torch module needs torch_loss=… and torch_optimizer=…, such as "
                "torch.optim.SGD with its arguments bound; or pass a LightningModule."
            )

    def stream(self, batches: Batches, sink: Sink, start: Start | None = None) -> list[Layer]:
        own: Mapping[str, Any] = {"objective": self.objective, "to_torch": self.to_torch}
        sink, start = self.followed(batches, sink, start)
        with self.running():
            return self.framework.trace_any(self.model, batches, sink, start=start, **own)

    def real_step(self, x: Structure, y: Structure, sink: Sink) -> None:
        own: Mapping[str, Any] = {"objective": self.objective, "to_torch": self.to_torch}
        with self.running():
            self.begin_step()
            try:
                self.framework.real_step(self.model, x, y, sink, **own)
            # A module may raise anything; its trace did not.
            except Exception as error:
                text = f"training raised, unwatched: {type(error).__name__}: {error}"
                raise ValueError(text) from error

    def training(self) -> dict[str, Any]:
        return {
            "optimizer": self.framework.optimizer_settings(self.model, self.objective),
            "loss": self.framework.loss_settings(self.model, self.objective),
        }

    def operations(self, x: Structure) -> list[Operation]:
        with self.in_its_dtype():
            return self.framework.operations(self.model, x, to_torch=self.to_torch)

    def not_compared(self) -> list[str]:
        return self.framework.not_compared(self.model, self.objective)

    def repeats(self, x: Structure) -> bool:
        with self.running():
            return self.framework.repeats(self.model, x, to_torch=self.to_torch)


@contextmanager
def usable() -> Iterator[None]:
    """What an adapter says of a model that it cannot use is a message for the user.

    The framework's own traceback is not shown above it; `__context__` has it.
    """
    try:
        yield
    except UNUSABLE as error:
        raise InputError(str(error)) from None


@dataclass(frozen=True)
class Pair:
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

    def towards(self, to: str) -> tuple[Side, Side]:
        """The source and the target of what goes to a side, `"keras"` or `"torch"`."""
        return (self.torch, self.keras) if to == "keras" else (self.keras, self.torch)


def build_pair(
    keras_model: Any,
    torch_module: Any,
    x: Structure | None,
    options: Options,
    *,
    count: int = FEW,
    seed: int = 0,
) -> Pair:
    """Build what functions build, and check that both models compute in one dtype.

    Args:
        keras_model: A Keras model, or a function that returns one.
        torch_module: A Torch module, or a function that returns one.
        x: Samples in Keras' layout; None for synthetic ones of the Keras model's input shapes.
        options: Their `dtype` is that of both models; None for float64 where a function builds a
            model, else for the Keras model's.
        count: Number of synthetic samples.
        seed: Seed of synthetic samples.

    Raises:
        InputError: A model or the samples cannot be used.
        MissingDependencyError: Keras or Torch is not installed.
    """
    __tracebackhide__ = True
    dtype = options.dtype
    if dtype is None and (_is_factory(keras_model) or _is_factory(torch_module)):
        dtype = "float64"
    keras = KerasSide(build_model("keras", keras_model, dtype))
    torch = TorchSide(
        build_model("torch", torch_module, dtype), options.objective, options.to_torch
    )
    dtype = dtype or keras.dtype
    for side in (keras, torch):
        side.check_dtype(dtype)
    if x is None:
        with usable():
            x = load("keras").sample_input(keras.model, count, seed)
    return Pair(keras, torch, checked("x", x, dtype), dtype)


def build_model(name: str, model: Any, dtype: str | None) -> Any:
    """A model as it is, or what a function builds in a dtype.

    Args:
        name: `"keras"` or `"torch"`.
        model: A model of that framework, or a function without arguments that returns one.
        dtype: What a function builds in; not looked at for a model.

    Raises:
        InputError: It is no model of the framework, or the function returned none.
    """
    __tracebackhide__ = True
    framework = load(name)
    expected = f"expected a {_KIND[name]} or a function that returns one"
    if _is_factory(model):
        expected = f"{getattr(model, '__name__', model)}: expected to return a {_KIND[name]}"
        with framework.building(_checked(dtype)):
            model = model()
    if not framework.is_model(model):
        raise InputError(f"{expected}, received {type(model).__name__}.")
    return model


def _checked(dtype: str | None) -> str:
    if dtype not in ("float32", "float64"):
        raise InputError(f"dtype: expected float32 or float64, received {dtype!r}.")
    return dtype


def _is_factory(model: Any) -> bool:
    """Whether something is to be called for a model: a function or a class, and no model."""
    return inspect.isroutine(model) or inspect.isclass(model) or isinstance(model, partial)


def first_samples(structure: Structure, count: int = FEW) -> Structure:
    """The first samples of every array."""
    return mapped(lambda array: array[:count], structure)
