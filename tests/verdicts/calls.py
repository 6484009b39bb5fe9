"""Functions that a module calls in its forward pass, one of them replaced by another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

Instead = Callable[..., Any]
"""Called with the function that is replaced, and with its arguments."""


def replace_call(module: nn.Module, name: str, number: int, instead: Instead) -> None:
    """Replace one call of a function, whoever makes it: `relu`, `nn.ReLU` or `F.relu` is one name.

    Args:
        module: Its forward pass is looked at. A copy of it keeps the replacement.
        name: The function's name, without the underscore of one that works in place.
        number: Which call in a forward pass, from 0.
        instead: What is called instead.
    """
    if not hasattr(module, "replaced"):
        kind = type(module)

        class Replaced(kind):  # type: ignore[misc, valid-type]
            def forward(self, *args: Any, **options: Any) -> Any:
                with _Watching(self.replaced):
                    return super().forward(*args, **options)

        Replaced.__name__ = Replaced.__qualname__ = kind.__name__
        module.__class__ = Replaced
    earlier: Mapping[Any, Instead] = getattr(module, "replaced", {})
    module.replaced = {**earlier, (name, number): instead}


class _Watching(TorchFunctionMode):
    def __init__(self, replaced: Mapping[tuple[str, int], Instead]) -> None:
        super().__init__()
        self.replaced = replaced
        self.calls: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "").strip("_")
        instead = self.replaced.get((name, self.calls[name]))
        self.calls[name] += 1
        options = kwargs or {}
        return func(*args, **options) if instead is None else instead(func, *args, **options)


def left_out(func: Any, x: Any, *args: Any, **options: Any) -> Any:
    """The input as it came."""
    return x


def scaled(factor: float) -> Instead:
    """What the function returns, times a factor."""
    return lambda func, *args, **options: factor * func(*args, **options)


def half_its_gradient(func: Any, *args: Any, **options: Any) -> Any:
    """What the function returns, and half of its gradient."""
    half = 0.5 * func(*args, **options)
    return half + half.detach()


def other(function: Callable[..., Any], **options: Any) -> Instead:
    """Another function of the first argument."""
    return lambda func, x, *args, **ignored: function(x, **options)


def pooled(method: str) -> Instead:
    """Another way to pool over the same axes."""
    return lambda func, x, *args, **options: getattr(x, method)(*args, **options)
