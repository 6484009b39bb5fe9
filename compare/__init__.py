"""The judge: trains the Keras and the Lightning twin on the same circles and compares them.

Importing it imports no framework. From the command line: `bn-compare --help`.
"""

from typing import TYPE_CHECKING, Any

from compare.errors import (
    CompareError,
    InputError,
    MissingDependencyError,
    RunFolderError,
    WorkerError,
)

if TYPE_CHECKING:
    from compare.check import ParityError, ParityReport, check_parity

__all__ = [
    "CompareError",
    "InputError",
    "MissingDependencyError",
    "ParityError",
    "ParityReport",
    "RunFolderError",
    "WorkerError",
    "check_parity",
]


def __getattr__(name: str) -> Any:
    """Load what needs NumPy when it is asked for, so that the command line answers at once."""
    if name in ("ParityError", "ParityReport", "check_parity"):
        from compare import check

        return getattr(check, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
