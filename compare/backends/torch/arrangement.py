"""How samples and targets get from Keras' layout to a module's, and back for the record."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compare.backends.torch.hooks import Recording
from compare.backends.torch.layouts import SPATIAL, channels_last, says_nothing
from compare.backends.torch.preserve_state import looking
from compare.backends.torch.structures import call, mapped, tensor
from compare.backends.torch.weights import weighted_layers

_IMAGES = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.BatchNorm2d, nn.BatchNorm3d),
)

Map = Callable[[Any], Any]
"""From a structure of arrays or tensors to one like it."""


@dataclass(frozen=True)
class Arrangement:
    """Maps of whole structures: samples and targets to a module's layout, and back."""

    to_torch: Map
    to_keras: Map


def unchanged(structure: Any) -> Any:
    """What comes, as tensors."""
    return mapped(structure, tensor)


def of_samples(module: nn.Module, x: Any) -> Arrangement:
    """Channels on axis 1 of images, where the module works on images; of series, if it starts so.

    Args:
        module: Any module of known layers.
        x: Samples in Keras' layout.
    """
    images = any(isinstance(part, _IMAGES) for part in module.modules())
    leaves: list[Tensor] = []
    mapped(unchanged(x), leaves.append)
    ranks = {leaf.ndim for leaf in leaves if leaf.ndim > 2}
    moved = {rank for rank in ranks if images and rank in (4, 5)}
    if ranks - moved:
        first, rank = _first(module, unchanged(x))
        moved |= {rank} & ranks if first in SPATIAL else set()
    return _moving(lambda leaf: leaf.ndim in moved)


def _moving(moves: Callable[[Tensor], bool]) -> Arrangement:
    return Arrangement(
        lambda x: mapped(unchanged(x), lambda t: t.movedim(-1, 1).contiguous() if moves(t) else t),
        lambda x: mapped(x, lambda t: t.movedim(1, -1) if moves(t) else t),
    )


def _first(module: nn.Module, x: Any) -> tuple[str | None, int | None]:
    """Kind of the first weighted layer to run, and how many axes it receives."""
    recording = Recording(module)
    # In the wrong layout it raises, but only after the first layer was reached.
    with looking(module), recording.watching(), suppress(Exception):
        call(module, x)
    layers = weighted_layers(module)
    kinds = [layers[name].kind for name in [*recording.order, *layers] if name in layers]
    return next(iter(kinds), None), recording.received


def of_targets(module: nn.Module, x: Any, y: Any) -> Arrangement:
    """Channels on axis 1 of targets that are images, where the module returns such images.

    Args:
        module: Any module of known layers.
        x: Samples in the module's layout.
        y: Targets in Keras' layout.
    """
    targets: list[Tensor] = []
    mapped(unchanged(y), targets.append)
    if all(target.ndim < 3 for target in targets):
        return _moving(lambda t: False)
    recording = Recording(module)
    with looking(module), recording.watching():
        try:
            output = call(module, x)
        # It raises in training too, and is told there.
        except Exception:
            return _moving(lambda t: False)
    shapes: list[tuple[torch.Size, bool]] = []
    mapped(
        output,
        lambda t: (
            shapes.append((t.shape, channels_first(t.shape, recording.returned)))
            if isinstance(t, Tensor)
            else None
        ),
    )

    def moves(keras_shape: tuple[int, ...]) -> bool:
        moved = (keras_shape[0], keras_shape[-1], *keras_shape[1:-1])
        return any(
            moved == tuple(shape) and (first or keras_shape != tuple(shape))
            for shape, first in shapes
        )

    ranks = {t.ndim for t in targets if t.ndim > 2 and moves(t.shape)}
    return _moving(lambda t: t.ndim in ranks)


def channels_first(shape: torch.Size, returned: list[tuple[str, torch.Size]]) -> bool:
    """Whether an output of a module has its channels on axis 1.

    It has them there if it is shaped as what a layer over space returned, or if such a layer ran
    last and the output has as many channels on axis 1.

    Args:
        shape: The output's shape.
        returned: Kind and shape of what the layers returned, in the order in which they ran.
    """
    returned = [(kind, other) for kind, other in returned if not says_nothing(kind)]
    if len(shape) < 3 or not returned:
        return False
    alike = [kind for kind, other in returned if other == shape]
    if alike:
        return alike[-1] in SPATIAL
    kind, last = returned[-1]
    if kind not in SPATIAL or len(last) != len(shape) or last[1] != shape[1]:
        return False
    return shape != torch.Size([last[0], *last[2:], last[1]])


def output_to_keras(output: Any, recording: Recording) -> Any:
    """A module's output in Keras' layout: samples first, channels last; see `channels_first`.

    Args:
        output: A tensor, or a structure of tensors.
        recording: The pass that returned it.
    """

    def moved(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if channels_first(leaf.shape, recording.returned):
            return channels_last(leaf)
        return recording.times.samples_first(leaf)

    return mapped(output, moved)
