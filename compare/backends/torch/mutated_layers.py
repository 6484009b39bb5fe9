"""Port bugs of layers other than batch normalization, and of what lies between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bn_torch.module import BinaryClassifier
from compare.backends.torch.bugs import BUGS, bug


class _Lambda(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _moved(model: nn.Sequential, name: str, after: str) -> None:
    """Move a layer of a sequence behind another one."""
    layers = dict(model.named_children())
    moved = layers.pop(name)
    for key in [*layers, name]:
        delattr(model, key)
    for key, layer in layers.items():
        model.add_module(key, layer)
        if key == after:
            model.add_module(name, moved)


# Structure.


@bug
def _bias_dropped(handle: BinaryClassifier, size: float) -> None:
    handle.model.output = nn.Linear(handle.model.output.in_features, 1, bias=False)


@bug
def _hidden_too_wide(handle: BinaryClassifier, size: float) -> None:
    handle.model.hidden = nn.Linear(2, 64)
    handle.model.output = nn.Linear(64, 1)


# Forward pass: what lies between layers.


@bug
def _bn_before_relu(handle: BinaryClassifier, size: float) -> None:
    _moved(handle.model, "relu", after="batch_norm")


@bug
def _bn_after_relu(handle: BinaryClassifier, size: float) -> None:
    _moved(handle.model, "batch_norm", after="relu")


@bug
def _relu_forgotten(handle: BinaryClassifier, size: float) -> None:
    handle.model.relu = nn.Identity()


@bug
def _relu_leaky(handle: BinaryClassifier, size: float) -> None:
    handle.model.relu = nn.LeakyReLU(size)


@bug
def _relu_gelu(handle: BinaryClassifier, size: float) -> None:
    handle.model.relu = nn.GELU()


@bug
def _dropout_added(handle: BinaryClassifier, size: float) -> None:
    handle.model.relu = nn.Sequential(nn.ReLU(), nn.Dropout(0.1))


@bug
def _activation_nan(handle: BinaryClassifier, size: float) -> None:
    place = torch.zeros(1, 50)
    place[0, 7] = torch.nan
    handle.model.relu = nn.Sequential(nn.ReLU(), _Lambda(lambda x: x + place))


@bug
def _input_scaled(handle: BinaryClassifier, size: float) -> None:
    handle.model.register_forward_pre_hook(lambda model, entered: (entered[0] * (1.0 + size),))


@bug
def _flatten_channels_first(handle: BinaryClassifier, size: float) -> None:
    handle.model.flatten = nn.Flatten()


@bug
def _pool_stride(handle: BinaryClassifier, size: float) -> None:
    handle.model.max_pool = nn.MaxPool2d(2, stride=1)


@bug
def _pool_kernel(handle: BinaryClassifier, size: float) -> None:
    handle.model.max_pool = nn.MaxPool2d(3, stride=2, padding=1)


@bug
def _pool_average(handle: BinaryClassifier, size: float) -> None:
    handle.model.max_pool = nn.AvgPool2d(2)


class _FlippedConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.flip(2, 3), self.bias)


@bug
def _conv_flipped(handle: BinaryClassifier, size: float) -> None:
    handle.model.conv1.__class__ = _FlippedConv


@bug
def _conv_padding(handle: BinaryClassifier, size: float) -> None:
    handle.model.conv1.padding = (1, 1)


# Forward pass: the LSTM.


class _Recurrent(nn.LSTM):
    """An LSTM whose input and outputs can be changed on the way."""

    def enter(self, x: Tensor) -> Tensor:
        return x

    def leave(self, outputs: Tensor) -> Tensor:
        return outputs

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        outputs, state = super().forward(self.enter(x), hx)
        return self.leave(outputs), state


class _FromTheEnd(_Recurrent):
    def enter(self, x: Tensor) -> Tensor:
        return x.flip(1)


class _FirstOutput(_Recurrent):
    def leave(self, outputs: Tensor) -> Tensor:
        return outputs.flip(1)


class _GatesSwapped(nn.LSTM):
    """Takes the third gate for the output gate and the fourth for the cell's candidate."""

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        parts = [p.chunk(4) for p in self._flat_weights]
        swapped = [torch.cat([i, f, o, g]) for i, f, g, o in parts]
        zeros = x.new_zeros(1, len(x), self.hidden_size)
        outputs, h, c = torch.lstm(
            x, (zeros, zeros), swapped, True, 1, 0.0, self.training, False, True
        )
        return outputs, (h, c)


class _Truncated(nn.LSTM):
    """No gradient flows from one time step to the one before."""

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        outputs, state = [], None
        for step in x.split(1, dim=1):
            state = None if state is None else tuple(s.detach() for s in state)
            output, state = super().forward(step, state)
            outputs.append(output)
        return torch.cat(outputs, dim=1), state


def _lstm(name: str, kind: type[nn.LSTM]) -> None:
    def change(handle: BinaryClassifier, size: float) -> None:
        handle.model.lstm.__class__ = kind

    BUGS[name] = change


_lstm("lstm-time-reversed", _FromTheEnd)
_lstm("lstm-first-output", _FirstOutput)
_lstm("lstm-gates-computed-swapped", _GatesSwapped)
_lstm("lstm-state-detached", _Truncated)


@bug
def _lstm_not_batch_first(handle: BinaryClassifier, size: float) -> None:
    handle.model.lstm.batch_first = False


@bug
def _lstm_two_biases(handle: BinaryClassifier, size: float) -> None:
    handle.model.lstm.bias_hh_l0.requires_grad_(True)
