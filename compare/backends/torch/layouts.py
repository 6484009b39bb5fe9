"""Where a whole module has its channels, samples and time: from Keras' layout to its own, and back.

Samples and targets come in Keras' layout (samples first, channels last). An `Arrangement` puts them
into the module's, and back for the record. What single layers receive is in `hooks`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compare.backends.structures import Structure, leaves, mapped
from compare.backends.torch.hooks import Recording, channels_last
from compare.backends.torch.preserve_state import looking
from compare.backends.torch.rules import SPATIAL, says_nothing
from compare.backends.torch.structures import call, tensors
from compare.backends.torch.weights import weighted_layers

_IMAGES = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.BatchNorm2d, nn.BatchNorm3d),
)

Map = Callable[[Structure], Structure]


@dataclass(frozen=True)
class Arrangement:
    """Maps of whole structures: samples or targets to a module's layout, and back."""

    to_torch: Map
    to_keras: Map


def by_user(name: str, function: Map | None) -> Arrangement | None:
    """What a user's function does, which cannot be undone; None where there is no function.

    Args:
        name: What the function is called in messages.
        function: From Keras' layout to the module's. If it raises, `to_torch` raises a ValueError.
    """
    if function is None:
        return None

    def to_torch(structure: Structure) -> Structure:
        try:
            return tensors(function(structure))
        except Exception as error:
            raise ValueError(f"{name} raised {type(error).__name__}: {error}") from error

    return Arrangement(to_torch, lambda structure: structure)


def of_samples(module: nn.Module, x: Structure) -> Arrangement:
    """Channels on axis 1 of images, where the module works on images; of series, if it starts so.

    A module that runs only on samples in Keras' layout moves the axes itself.

    Args:
        module: Any module of known layers.
        x: Samples in Keras' layout.
    """
    x = tensors(x)
    images = any(isinstance(part, _IMAGES) for part in module.modules())
    ranks = {leaf.ndim for _, leaf in leaves(x) if leaf.ndim > 2}
    moved = {rank for rank in ranks if images and rank in (4, 5)}
    if ranks - moved:
        first, rank = _first(module, x)
        moved |= {rank} & ranks if first in SPATIAL else set()
    arrangement = _moving(lambda leaf: leaf.ndim in moved)
    if moved and not _runs(module, arrangement.to_torch(x)) and _runs(module, x):
        return _moving(lambda leaf: False)
    return arrangement


def _runs(module: nn.Module, x: Structure) -> bool:
    return _forward(module, x)[0] is not _RAISED


def _moving(moves: Callable[[Tensor], bool]) -> Arrangement:
    return Arrangement(
        lambda x: mapped(lambda t: t.movedim(-1, 1).contiguous() if moves(t) else t, tensors(x)),
        lambda x: mapped(lambda t: t.movedim(1, -1) if moves(t) else t, x),
    )


def _first(module: nn.Module, x: Structure) -> tuple[str | None, int | None]:
    """Kind of the first weighted layer to run, and how many axes it receives."""
    # In the wrong layout it raises, but only after the first layer was reached.
    _, recording = _forward(module, x)
    layers = weighted_layers(module)
    kinds = [layers[name].kind for name in [*recording.order, *layers] if name in layers]
    return next(iter(kinds), None), recording.received


def _forward(module: nn.Module, x: Structure) -> tuple[Structure, Recording]:
    """The output in inference mode, `_RAISED` where the module raises, and what passed."""
    recording = Recording(module)
    with looking(module), recording.watching(), suppress(Exception):
        return call(module, x), recording
    return _RAISED, recording


_RAISED: Any = object()
"""What stands for the output of a module that raised."""


def of_targets(module: nn.Module, x: Structure, y: Structure | None) -> Arrangement:
    """Channels on axis 1 of targets that are images, where the module returns such images.

    Args:
        module: Any module of known layers.
        x: Samples in the module's layout.
        y: Targets in Keras' layout; None if there are none.
    """
    shapes = set() if y is None else {leaf.shape for _, leaf in leaves(tensors(y))}
    targets = {shape for shape in shapes if len(shape) > 2}
    # Where it raises, it does so in training too, which reports it.
    output, recording = _forward(module, x) if targets else ((), Recording(module))
    returned = [leaf.shape for _, leaf in leaves(output) if isinstance(leaf, Tensor)]

    def moves(shape: torch.Size) -> bool:
        moved = torch.Size([shape[0], shape[-1], *shape[1:-1]])
        return any(
            moved == other and (shape != other or channels_first(other, recording.returned))
            for other in returned
        )

    ranks = {len(shape) for shape in targets if moves(shape)}
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


def output_to_keras(output: Structure, recording: Recording) -> Structure:
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

    return mapped(moved, output)
