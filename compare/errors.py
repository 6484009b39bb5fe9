"""Every error that this package raises on purpose, as one tree.

```
CompareError                  anything below; the command line prints it as one line
├── InputError                a setting or argument that cannot be used (exit 2)
├── MissingDependencyError    a framework or library is not installed (exit 2)
├── GoldenError               a recorded side cannot be read, or is of another pair (exit 2)
├── RunFolderError            a run folder cannot be read or written (exit 2)
└── WorkerError               a framework's process died or raised (exit 2)
```

Each message says what was expected, what was received, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CompareError(Exception):
    """Base class of the errors that a user can act upon."""


class InputError(CompareError, ValueError):
    """A setting or an argument that cannot be used."""


class MissingDependencyError(CompareError, ImportError):
    """A framework or library that is needed here is not installed."""


class GoldenError(CompareError):
    """A recorded side of a pair that cannot be read, was changed, or is of something else."""


class RunFolderError(CompareError):
    """A run folder that cannot be read, or must not be written to."""


class WorkerError(CompareError):
    """A framework's own process ended, or raised, while it was training."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not one of `known`, with the nearest match suggested.

    Args:
        kind: What the name should have been, such as `"variant"`.
        name: The name received.
        known: The names that would have been accepted.

    Returns:
        An `InputError`, to be raised by the caller.
    """
    choices = list(known)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(choices)}.")
