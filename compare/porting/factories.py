"""Functions that build models, by name: `package.module:function`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compare.errors import CompareError, InputError, unknown


def factory(name: str) -> Callable[[], Any]:
    """Import a function that builds a model, from the current folder or from what is installed.

    Args:
        name: `module:function`; the module may be within packages.

    Returns:
        The function; what it raises becomes an `InputError` with type and text.

    Raises:
        InputError: There is no such module or function, or the module raised.
    """
    path, _, attribute = name.partition(":")
    if not path or not attribute:
        raise InputError(f"{name!r}: expected module:function, such as models.net:build.")
    module = _imported(path, name)
    if not hasattr(module, attribute):
        known = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise unknown(f"function of {path}", attribute, known)
    function = getattr(module, attribute)
    if not callable(function):
        raise InputError(
            f"{name}: expected a function that builds a model, received {type(function).__name__}."
        )

    def build() -> Any:
        try:
            return function()
        except CompareError:
            raise
        except Exception as error:
            raise InputError(f"{name} raised {type(error).__name__}: {error}") from None

    build.__name__ = name
    return build


def _imported(path: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        # The module itself, or a package around it; else something that it imports.
        if error.name is not None and f"{path}.".startswith(f"{error.name}."):
            raise InputError(
                f"{name}: no module {error.name!r} in {here}, nor installed."
            ) from None
        raise InputError(f"{name}: importing {path} failed: {error}.") from None
    except Exception as error:
        raise InputError(
            f"{name}: importing {path} failed: {type(error).__name__}: {error}"
        ) from None
