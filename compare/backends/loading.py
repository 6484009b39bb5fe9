"""Finding a framework and importing it by name: nothing else names a backend.

A package that is not installed is reported before anything is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from typing import Literal, cast, overload

from compare.backends.protocol import Framework, KerasFramework, TorchFramework
from compare.errors import MissingDependencyError

_NEEDS = {"keras": ("keras", "tensorflow"), "torch": ("torch", "lightning")}
_LOGS_WITH = {"keras": ("tensorboard",), "torch": ("tensorboard", "tensorboardX")}

NAMES = tuple(_NEEDS)


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


@overload
def load(name: Literal["keras"]) -> KerasFramework: ...
@overload
def load(name: Literal["torch"]) -> TorchFramework: ...
@overload
def load(name: str) -> Framework: ...
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
