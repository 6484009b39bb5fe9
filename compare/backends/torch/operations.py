"""Everything that runs in a module, weighted or not, and how what has no weights is set.

Functions, such as `F.relu`, cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from torch import nn

from compare.backends.structures import Structure
from compare.backends.torch.preserve_state import looking
from compare.backends.torch.structures import call, tensors
from compare.backends.torch.weights import weighted_layers
from compare.trace import Operation

_MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVERAGE_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


def operations(module: nn.Module, x: Structure) -> list[Operation]:
    """See `Framework.operations`.

    Args:
        module: The network.
        x: Samples in its own layout.
    """
    ran: list[Operation] = []
    wholes: dict[nn.Module, list[str]] = {}
    for layer in weighted_layers(module).values():
        wholes.setdefault(layer.module, []).append(layer.name)
    with looking(module):
        hooks = [
            leaf.register_forward_pre_hook(_noting(path, ran, wholes.get(leaf, [])))
            for path, leaf in _leaves(module, "", wholes)
        ]
        try:
            # What it raises is reported by its trace; here what ran until then counts.
            with suppress(Exception):
                call(module, tensors(x))
        finally:
            for hook in hooks:
                hook.remove()
    return ran


def _leaves(module: nn.Module, path: str, wholes: Any) -> Iterator[tuple[str, nn.Module]]:
    children = list(module.named_children())
    if module in wholes or not children:
        yield path, module
    else:
        for name, child in children:
            yield from _leaves(child, f"{path}/{name}".removeprefix("/"), wholes)


def _noting(path: str, ran: list[Operation], weighted: list[str]) -> Callable[..., None]:
    def note(module: nn.Module, args: Any) -> None:
        if weighted:
            ran.extend({"name": name, "kind": "", "settings": {}} for name in weighted)
        elif not isinstance(module, nn.Identity):
            kind, settings = _known(module)
            ran.append({"name": path, "kind": kind, "settings": settings})

    return note


def _known(part: Any) -> tuple[str, dict[str, Any]]:
    """Kind and settings in words that both frameworks share; the class's name for the rest."""
    if isinstance(part, nn.LeakyReLU):
        return "leaky_relu", {"negative_slope": float(part.negative_slope)}
    if isinstance(part, nn.ELU):
        return "elu", {"alpha": float(part.alpha)}
    if isinstance(part, nn.GELU):
        return "gelu", {"approximate": part.approximate != "none"}
    if isinstance(part, (*_MAX_POOLS, *_AVERAGE_POOLS)):
        return _pool(part)
    if isinstance(part, nn.Upsample):
        corners = {} if part.mode == "nearest" else {"align_corners": bool(part.align_corners)}
        way = {"linear": "bilinear", "trilinear": "bilinear"}.get(part.mode, part.mode)
        return "upsample", {"interpolation": way, **corners}
    return type(part).__name__.lower(), {}


def _pool(pool: Any) -> tuple[str, dict[str, Any]]:
    axes = int(type(pool).__name__.removesuffix("d")[-1])

    def each(value: Any) -> list[int]:
        return list(value) if isinstance(value, (tuple, list)) else [int(value)] * axes

    padding: Any = each(pool.padding)
    settings: dict[str, Any] = {
        "pool_size": each(pool.kernel_size),
        "strides": each(pool.stride),
        "padding": padding if any(padding) else "valid",
    }
    if not isinstance(pool, _AVERAGE_POOLS):
        return "max_pool", settings
    # Where nothing is padded there is nothing to count.
    counts = {"count_include_pad": pool.count_include_pad} if any(padding) else {}
    return "average_pool", {**settings, **counts}
