"""The judge: trains the Keras and the Lightning twin on the same circles and compares them.

Importing it imports no framework. From the command line: `bn-compare --help`.
"""

from compare.errors import (
    CompareError,
    InputError,
    MissingDependencyError,
    RunFolderError,
    WorkerError,
)

__all__ = [
    "CompareError",
    "InputError",
    "MissingDependencyError",
    "RunFolderError",
    "WorkerError",
]
