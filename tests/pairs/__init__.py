"""Networks written twice, as users of each framework write them: a right port, and wrong ones.

A pair is a module of this package with

- `build_keras()`: a compiled Keras model;
- `build_torch()`: its right port, a LightningModule or a plain module;
- `inputs(rng)`: samples and targets, in Keras' layout;
- `BUGS`: wrong ports, each with the place where the ladder must put the blame;
- `OBJECTIVE`: `torch_loss` and `torch_optimizer`, for a plain module;
- where they are needed, `PAIRS` (Keras layer → Torch module) and `to_torch`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Bug:
    """A wrong port: the right one's weights in a wrong module, or spoilt after they were carried.

    `blame` is a Keras layer, `between A and B`, `loss` or `optimizer`; `build` makes the wrong
    module (None: the right one); `spoil` changes it in place once it has its weights; `objective`
    replaces parts of the pair's.
    """

    name: str
    blame: str
    rung: int
    build: Callable[[], nn.Module] | None = None
    spoil: Callable[[nn.Module], object] | None = None
    objective: Mapping[str, Any] = field(default_factory=dict)


def discover() -> dict[str, ModuleType]:
    """All pairs by name."""
    names = (found.name for found in pkgutil.iter_modules(__path__))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "build_keras")}
