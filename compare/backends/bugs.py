"""The register of port bugs: what each one is, and on which rung the ladder must catch it.

Keras stays as it is, and Torch carries the bug. A bug is a function with the decorator `bug`, of
one of these forms by what it changes; `size` is how large the bug is, where it has a size.

| `changes` | function | called |
| --- | --- | --- |
| `"model"` | `(handle, size)`, changes the live model in place | when it was built |
| `"weights"` | `(weights, size)` → weights | when they are written |
| `"plan"` | `(plan, size)` → plan: the samples of every batch of every epoch | when it is listed |
| `"batch"` | `((x, y), size)` → `(x, y)` | when batches are traced |
| `"framework"` | `(framework, size)` → framework | at once |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Part = Literal["model", "weights", "plan", "batch", "framework"]
Change = TypeVar("Change", bound=Callable[..., Any])

AFTER = "mlp-bn-after"
RELATIVE = "relative"


@dataclass(frozen=True)
class Bug:
    """One port bug.

    Attributes:
        name: The function's, with dashes.
        description: What is wrong, in a few words.
        variant: The variant that carries it.
        rung: Number of the rung on which it must be caught.
        blame: The layer, or other part, that must be blamed there.
        changes: What the function takes and returns.
        change: The function.
        explained_by: The conventions that would be a right explanation; any other is a wrong one.
        size: How large it is injected; None where it has no size.
        unit: What the size counts; empty where a smaller size isn't a smaller bug.
        epochs: Epochs of the study; bugs that set in late need more.
    """

    name: str
    description: str
    variant: str
    rung: int
    blame: str
    changes: Part
    change: Callable[..., Any]
    explained_by: tuple[str, ...] = ()
    size: float | None = None
    unit: str = ""
    epochs: int = 3


BUGS: dict[str, Bug] = {}
"""Name → the bugs of the package."""


def bug(
    description: str, *, changes: Part = "model", register: dict[str, Bug] = BUGS, **expected: Any
) -> Callable[[Change], Change]:
    """Register a function as a bug, and leave it as it is.

    Args:
        description: What is wrong, in a few words.
        changes: What the function takes and returns.
        register: Receives the bug under the function's name, with dashes.
        **expected: The other attributes of `Bug`.
    """

    def decorate(function: Change) -> Change:
        name = function.__name__.strip("_").replace("_", "-")
        register[name] = Bug(
            name=name, description=description, changes=changes, change=function, **expected
        )
        return function

    return decorate
