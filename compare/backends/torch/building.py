"""A network of the tutorial by neutral options, with any of its remedies left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from bn_torch.cnn import FlattenChannelsLast, build_cnn
from bn_torch.lstm import build_lstm
from bn_torch.mlp import build_mlp
from bn_torch.module import BinaryClassifier
from bn_torch.norm import BiasedBatchNorm
from compare.backends.torch import undo

_TORCH_MOMENTUM, _TORCH_EPS = 0.1, 1e-5
_KERAS_DECAY, _KERAS_EPSILON = 0.99, 1e-3


def build(
    family: str,
    options: Mapping[str, object],
    *,
    seed: int,
    sgd: Mapping[str, float],
    undone: Collection[str],
) -> BinaryClassifier:
    """A LightningModule with Torch's own initial weights.

    Args:
        family: `"mlp"`, `"cnn"` or `"lstm"`.
        options: Arguments of the builder, with `decay`, one minus Torch's `momentum`.
        seed: Seed of Torch's initializers.
        sgd: `learning_rate` and `momentum`.
        undone: Conventions whose remedy is left out.
    """
    torch.manual_seed(seed)
    choices: dict[str, Any] = {name: v for name, v in options.items() if name != "decay"}
    choices["momentum"] = _momentum(options.get("decay"), undone)
    choices["eps"] = _TORCH_EPS if "bn-epsilon" in undone else _KERAS_EPSILON
    if "bn-affine" in undone:
        choices.pop("affine", None)
    stock = nn.BatchNorm2d if family == "cnn" else nn.BatchNorm1d
    choices["norm_layer"] = stock if "bn-biased-variance" in undone else BiasedBatchNorm
    if family == "cnn":
        choices["flatten_layer"] = nn.Flatten if "flatten-order" in undone else FlattenChannelsLast
        model: nn.Module = build_cnn(**choices)
    elif family == "lstm":
        model = build_lstm(**choices, single_bias="lstm-single-bias" not in undone)
    else:
        model = build_mlp(**choices)
    return undo.classifier(model, undone, **sgd)


def _momentum(decay: object, undone: Collection[str]) -> float:
    """Torch's momentum. A naive port copies the tutorial's number where it writes one."""
    share_kept = _KERAS_DECAY if decay is None else float(decay)  # type: ignore[arg-type]
    default = "bn-momentum" in undone and (decay is None or "bn-momentum-copied" not in undone)
    if default:
        return _TORCH_MOMENTUM
    return share_kept if "bn-momentum-copied" in undone else 1.0 - share_kept
