"""The harness: trains the Keras and the Lightning twin on the same circles and compares them.

Importing it imports no framework. From the command line: `bn-compare --help`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from compare.errors import (
    CompareError,
    GoldenError,
    InputError,
    MissingDependencyError,
    RunFolderError,
    WorkerError,
)

if TYPE_CHECKING:
    from compare.parity.report import ParityError, ParityReport
    from compare.porting.check import check_parity
    from compare.porting.inspect import Inspection, inspect_pair
    from compare.porting.weights import PortReport, port_weights, weight_rule

_MODULES = {
    "Inspection": "porting.inspect",
    "ParityError": "parity.report",
    "ParityReport": "parity.report",
    "PortReport": "porting.weights",
    "check_parity": "porting.check",
    "inspect_pair": "porting.inspect",
    "port_weights": "porting.weights",
    "weight_rule": "porting.weights",
}

__all__ = [
    "CompareError",
    "GoldenError",
    "InputError",
    "Inspection",
    "MissingDependencyError",
    "ParityError",
    "ParityReport",
    "PortReport",
    "RunFolderError",
    "WorkerError",
    "check_parity",
    "inspect_pair",
    "port_weights",
    "weight_rule",
]


def __getattr__(name: str) -> Any:
    """Load what needs NumPy when it is asked for, so that the command line answers at once."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"compare.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
