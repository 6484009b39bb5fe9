"""What rounding may do in a module: the same computation, rounded otherwise at every operation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_ATEN = torch.ops.aten

_EXACT = {
    *(_ATEN.copy_, _ATEN.clone, _ATEN._to_copy, _ATEN.lift_fresh),
    *(_ATEN.equal, _ATEN.eq, _ATEN.ne, _ATEN.max, _ATEN.min, _ATEN.amax, _ATEN.amin),
    *(_ATEN.median, _ATEN.sort, _ATEN.topk, _ATEN.max_pool2d_with_indices),
}
"""Operations that only move, compare or select numbers. Weights are put back by them, to the bit,
and a maximum must stay equal to what it was taken of."""

_COMPOSED = {
    *(_ATEN.native_batch_norm.default, _ATEN.native_batch_norm_backward.default),
    *(_ATEN.native_layer_norm.default, _ATEN.native_layer_norm_backward.default),
    *(_ATEN.native_group_norm.default, _ATEN.native_group_norm_backward.default),
}
"""Operations that are taken in the parts they consist of: sums over many samples and places."""

_RESIZES = {
    *(_ATEN.upsample_linear1d, _ATEN.upsample_linear1d_backward),
    *(_ATEN.upsample_bilinear2d, _ATEN.upsample_bilinear2d_backward),
    *(_ATEN.upsample_bicubic2d, _ATEN.upsample_bicubic2d_backward),
    *(_ATEN.upsample_trilinear3d, _ATEN.upsample_trilinear3d_backward),
}
"""Operations that compute where, between two pixels, a new one lies."""

_SUMS = {_ATEN.sum, _ATEN.mean, _ATEN.var, _ATEN.var_mean, _ATEN.std}


@contextmanager
def rounded_otherwise(seed: int, dtype: str) -> Iterator[None]:
    """A block in which every operation of Torch rounds otherwise: forward, backward, optimizer.

    Each operand is moved by one unit in the last place, up or down at random, so that the effect of
    rounding grows with the depth of the network and the width of its layers. The result of a sum
    over n samples and places is moved by what adding them up one after the other rounds away: half
    a unit of every partial sum. A resize has each new pixel where rounding may put it: the last of
    n is off by n units of the step between two pixels. What is zero stays so.

    Args:
        seed: Seed of the directions; Torch's own generators are not touched.
        dtype: Whose units in the last place they are: `"float32"` or `"float64"`.
    """
    with _Rounding(seed, torch.finfo(getattr(torch, dtype)).eps):
        yield


class _Rounding(TorchDispatchMode):
    def __init__(self, seed: int, unit: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._unit = unit
        self._generator = torch.Generator().manual_seed(seed)
        self._drawn = torch.empty(0, dtype=torch.int8)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _COMPOSED:
            with self:
                return decomposition_table[func](*args, **kwargs)
        if func.overloadpacket in _EXACT:
            return func(*args, **kwargs)
        # A view shares memory with its operand, and results are written into others.
        shared = {x.name for x in func._schema.arguments if x.alias_info is not None}
        names = [x.name for x in func._schema.arguments]
        result = func(
            *(
                value if name in shared else tree_map(self._moved, value)
                for name, value in zip(names, args, strict=False)
            ),
            **{
                name: value if name in shared else tree_map(self._moved, value)
                for name, value in kwargs.items()
            },
        )
        if func.overloadpacket in _SUMS and args[0].is_floating_point():
            return tree_map(lambda total: self._added_up(total, args[0]), result)
        if func.overloadpacket is _ATEN.convolution_backward and result[2] is not None:
            gradient = args[0]
            return (*result[:2], self._added_up(result[2], gradient))
        if func.overloadpacket in _RESIZES:
            return self._misplaced(result)
        return result

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        # Not value + value * …: the infinities of a mask would become no numbers.
        return value * (self._signs(value).to(value.dtype) * self._unit + 1.0)

    def _misplaced(self, images: Tensor) -> Tensor:
        """Images, (n, channels, …), whose pixels lie somewhat before or behind their places."""
        moved = images
        for axis in range(2, images.ndim):
            n = images.shape[axis]
            steps = images.diff(dim=axis, append=images.narrow(axis, -1, 1)).abs()
            places = torch.arange(n, dtype=images.dtype, device=images.device)
            places = places.view(-1, *[1] * (images.ndim - axis - 1))
            moved = moved + self._signs(images) * steps * places * self._unit
        return moved

    def _added_up(self, total: Tensor, terms: Tensor) -> Tensor:
        """A sum or mean of terms, with the rounding of every partial sum.

        Partial sums grow evenly where terms have one sign, and as a random walk where they do not.
        Equal terms in a row, such as the gradients of a mean, are all rounded the same way.
        """
        n = terms.numel() / max(total.numel(), 1)
        walk = terms.square().mean().item() / n
        size = (total.square() + walk).sqrt()
        steps = math.sqrt(n * _in_a_row(terms, 16.0 * self._unit))
        moved: Tensor = total + self._signs(total) * size * (0.5 * self._unit * steps)
        return torch.where(total == 0, total, moved)

    def _signs(self, like: Tensor) -> Tensor:
        """Plus or minus one at every place."""
        n = like.numel()
        # Drawing takes far longer than the operation: each tensor has its own part of one draw.
        if len(self._drawn) < 2 * n:
            self._drawn = torch.empty(4 * n, dtype=torch.int8)
            self._drawn.bernoulli_(0.5, generator=self._generator).mul_(2).sub_(1)
        start = int(torch.randint(len(self._drawn) - n + 1, (), generator=self._generator))
        return self._drawn[start : start + n].view(like.shape).to(like.device)


def _in_a_row(terms: Tensor, close: float) -> float:
    """How many terms in a row are equal to rounding, on the average; zeros do not count."""
    rows = terms.flatten(min(2, terms.ndim - 1)) if terms.ndim else terms.flatten()
    again = (rows.diff().abs() <= close * rows[..., 1:].abs()) & (rows[..., 1:] != 0)
    nonzero = int(rows.count_nonzero())
    return nonzero / max(nonzero - int(again.sum()), 1) or 1.0
