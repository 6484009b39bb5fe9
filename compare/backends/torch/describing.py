"""The weighted layers of a module in the order in which they run, with their settings."""

from __future__ import annotations

from typing import Any

from torch import nn

from compare.backends.torch.as_found import looking
from compare.backends.torch.recording import Recording
from compare.backends.torch.settings import settings
from compare.backends.torch.structures import call, mapped, tensor
from compare.backends.torch.weights import weighted_layers


def structure(root: nn.Module, recording: Recording) -> list[dict[str, Any]]:
    """The layers of a module as numbers and strings.

    Args:
        root: The module.
        recording: What ran in it.

    Returns:
        For every layer, in the order in which they ran and then those that did not, `name`, `kind`,
        `tensors` (name → shape), `trained` (number of trained values) and `settings`.
    """
    layers = weighted_layers(root)
    ran = [name for name in recording.order if name in layers]
    return [
        {
            "name": name,
            "kind": layers[name].kind,
            "tensors": {key: list(t.shape) for key, t in layers[name].tensors().items()},
            "trained": layers[name].trained,
            "settings": settings(layers[name], frozen=name in recording.frozen),
        }
        for name in [*ran, *(n for n in layers if n not in ran)]
    ]


def describe(module: nn.Module, x: Any) -> list[dict[str, Any]]:
    """The layers in the order of one forward pass in inference mode; see `structure`.

    The module is left as it was found.

    Args:
        module: Any module of known layers.
        x: A few samples in the module's layout: an array, or a tuple, list or dict of them.

    Raises:
        TypeError: No rule is known for a layer with weights of its own.
        ValueError: The module raises on these samples, or has no weights yet.
    """
    layers = weighted_layers(module)
    modes = {name: layer.module.training for name, layer in layers.items()}
    recording = Recording(module)
    with looking(module), recording.watching():
        try:
            call(module, mapped(x, tensor))
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
    # A part in inference mode while the rest trains; a module all in inference mode is not frozen.
    recording.frozen = {name for name, trains in modes.items() if module.training and not trains}
    return structure(module, recording)
