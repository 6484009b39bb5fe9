"""The weights of any Torch module under canonical names, in Keras' layout.

Keras names and layouts are the common ones: a linear layer's `weight` (out, in) is `kernel`
(in, out), a convolution's `weight` OIHW is `kernel` HWIO, a batch norm's `weight, bias,
running_mean, running_var` are `gamma, beta, moving_mean, moving_variance`, and an LSTM's two biases
are one `bias`, their sum.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bn_torch.norm import BiasedBatchNorm

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BiasedBatchNorm)
_NORM_NAMES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def tensors(layer: nn.Module) -> dict[str, Tensor]:
    """A layer's own tensors by canonical name, each a view in Keras' layout.

    Writing to the view writes to the layer, so one rule serves reading and writing. An LSTM's
    second bias comes as `bias_hh`, beside `bias`.

    Raises:
        TypeError: No rule is known for a layer with weights of its own.
    """
    if isinstance(layer, nn.Linear):
        named = {"kernel": layer.weight.T, "bias": layer.bias}
    elif isinstance(layer, nn.Conv2d):
        named = {"kernel": layer.weight.permute(2, 3, 1, 0), "bias": layer.bias}
    elif isinstance(layer, nn.LSTM):
        if layer.num_layers != 1 or layer.bidirectional or layer.proj_size:
            raise TypeError("only LSTMs of one layer, one direction and no projection are known")
        named = {
            "kernel": layer.weight_ih_l0.T,
            "recurrent_kernel": layer.weight_hh_l0.T,
            "bias": layer.bias_ih_l0,
            "bias_hh": layer.bias_hh_l0,
        }
    elif isinstance(layer, _NORMS):
        named = {name: getattr(layer, attribute) for name, attribute in _NORM_NAMES.items()}
    elif next(layer.parameters(recurse=False), None) is not None:
        raise TypeError(f"no rule for the weights of {type(layer).__name__}")
    else:
        named = {}
    return {name: tensor.detach() for name, tensor in named.items() if tensor is not None}


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """All tensors of a module by canonical name (`hidden/kernel`), views in Keras' layout."""
    return {
        f"{path.replace('.', '/')}/{name}": tensor
        for path, layer in module.named_modules()
        for name, tensor in tensors(layer).items()
    }


def read_weights(module: nn.Module) -> dict[str, np.ndarray]:
    """Copies of all weights and running statistics, by canonical name, in Keras' layout.

    An LSTM's `bias` is the sum of its two.
    """
    found = named_tensors(module)
    return {
        name: (t + found[f"{name}_hh"] if f"{name}_hh" in found else t).cpu().numpy().copy()
        for name, t in found.items()
        if not name.endswith("/bias_hh")
    }


def write_weights(module: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """Set all weights and running statistics.

    An LSTM's `bias` goes to `bias_ih`; `bias_hh` becomes zero.

    Args:
        module: Any module of known layers.
        weights: Exactly the names and shapes that `read_weights` returns.

    Raises:
        ValueError: A name is missing or too many, or a shape differs.
    """
    found = named_tensors(module)
    single = {name for name in found if not name.endswith("/bias_hh")}
    if single != weights.keys():
        odd = sorted(single ^ weights.keys())
        raise ValueError(f"weights do not match {type(module).__name__}: {', '.join(odd)}")
    for name, tensor in found.items():
        if name not in single:
            tensor.zero_()
        elif tensor.shape != weights[name].shape:
            raise ValueError(
                f"{name}: expected shape {tuple(tensor.shape)}, received {weights[name].shape}"
            )
        else:
            tensor.copy_(torch.from_numpy(np.array(weights[name])))
