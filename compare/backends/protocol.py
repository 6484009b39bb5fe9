"""The surface of a framework, and loading one by name.

Each twin has a *module* of this shape (`keras.adapter`, `torch.adapter`). Arrays, numbers and
strings pass through it; a handle is a live model that nobody but its adapter opens.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from compare.data import Array
from compare.errors import MissingDependencyError
from compare.trace import Layer

_NEEDS = {"keras": ("keras", "tensorflow"), "torch": ("torch", "lightning")}
_LOGS_WITH = {"keras": ("tensorboard",), "torch": ("tensorboard", "tensorboardX")}

NAMES = tuple(_NEEDS)

UNUSABLE = (TypeError, ValueError)
"""What an adapter raises, with a message for the user, about a model that it cannot trace."""

Handle = Any


class EventLog(Protocol):
    """Writes the curves of one run for TensorBoard; the docstrings are in the twins."""

    def write(self, epoch: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Framework(Protocol):
    """What `compare` asks of a framework; the docstrings are in the adapters."""

    def configure(self, *, dtype: str, threads: int, accelerator: str = "cpu") -> None: ...

    def build(
        self,
        family: str,
        options: Mapping[str, object],
        *,
        seed: int,
        sgd: Mapping[str, float],
        undone: Collection[str],
    ) -> Handle: ...

    def read_weights(self, handle: Handle, /) -> dict[str, Array]: ...

    def write_weights(self, handle: Handle, weights: Mapping[str, Array], /) -> None: ...

    def draw_orders(self, n: int, *, epochs: int, seed: int) -> Any: ...

    def train(
        self,
        handle: Handle,
        data: tuple[Array, Array],
        *,
        orders: Any,
        batch_size: int,
        on_epoch: Callable[[float, float], None],
    ) -> None: ...

    def event_log(self, handle: Handle, folder: str) -> EventLog: ...

    def compile_many(
        self,
        handle: Handle,
        data: tuple[Array, Array],
        *,
        batch_size: int,
        views: Mapping[str, tuple[Array, bool]],
    ) -> Handle: ...

    def fit_many(
        self,
        program: Handle,
        starts: Iterable[tuple[Handle, Any]],
        *,
        on_epoch: Callable[[Array, Array, Mapping[str, Array]], None],
    ) -> Iterator[Handle]: ...

    def predict_proba(
        self, handle: Handle, x: Array, *, batch_statistics: bool = False
    ) -> Array: ...

    def delivered(
        self, handle: Handle, orders: Any, *, batch_size: int
    ) -> list[list[NDArray[Any]]]: ...

    def trace(
        self,
        handle: Handle,
        batches: Sequence[tuple[Array, Array]],
        sink: Callable[[str, NDArray[Any]], None],
        **options: Any,
    ) -> list[Layer]: ...

    def demonstrate(self, name: str, *, remedied: bool) -> dict[str, Array]: ...

    def configurations(self) -> dict[str, str]: ...

    def time_fit(
        self,
        handle: Handle,
        data: Mapping[str, tuple[Array, Array]],
        *,
        configuration: str,
        epochs: int,
        batch_size: int,
    ) -> dict[str, Any]: ...

    def versions(self) -> dict[str, str]: ...

    def accelerator(self) -> str: ...


def check_installed(names: Iterable[str]) -> None:
    """Raise unless every framework named could be imported; imports none of them.

    Raises:
        MissingDependencyError: A package that a framework needs is not installed.
    """
    for name in names:
        absent = [package for package in _NEEDS[name] if not _findable(package)]
        if absent:
            raise _missing(name, f"{' and '.join(absent)} not installed")


def check_event_logs(names: Iterable[str]) -> None:
    """Raise unless every framework named could write event files; imports nothing.

    Raises:
        MissingDependencyError: What its own logger needs is not installed.
    """
    for name in names:
        if not any(_findable(package) for package in _LOGS_WITH[name]):
            raise MissingDependencyError(
                f"--tensorboard: expected {' or '.join(_LOGS_WITH[name])} for {name}'s own logger, "
                "found none installed. pip install 'bn-compare[tensorboard]'."
            )


def load(name: str) -> Framework:
    """Import a framework and its twin: `"keras"` or `"torch"`.

    Raises:
        MissingDependencyError: It cannot be imported.
    """
    check_installed([name])
    try:
        return cast(Framework, importlib.import_module(f"compare.backends.{name}.adapter"))
    except ImportError as error:
        raise _missing(name, str(error)) from error


def _findable(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # blocked by an import hook, or None in sys.modules
        return False


def _missing(name: str, reason: str) -> MissingDependencyError:
    other = next(n for n in _NEEDS if n != name)
    return MissingDependencyError(
        f"framework {name!r} cannot be used here: {reason}. "
        f"pip install 'bn-compare[{name}]'; `run` works without it: --frameworks {other}."
    )
