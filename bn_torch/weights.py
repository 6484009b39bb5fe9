"""The weights of any Torch module under canonical names, in Keras' layout.

Keras names and layouts are the common ones: a linear layer's `weight` (out, in) is `kernel`
(in, out), a convolution's `weight` OIHW is `kernel` HWIO, a batch norm's `weight, bias,
running_mean, running_var` are `gamma, beta, moving_mean, moving_variance`, and an LSTM's two biases
are one `bias`, their sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bn_torch.norm import BiasedBatchNorm

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BiasedBatchNorm)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORM_NAMES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

Of = Callable[[Tensor], Tensor | None]
"""What to take of a parameter or buffer: itself, its gradient, its slot in an optimizer."""


def kind(layer: nn.Module) -> str | None:
    """`"dense"`, `"conv"`, `"lstm"` or `"batch_norm"`; None for a layer without tensors of its own.

    Raises:
        TypeError: The layer has tensors of its own, and no rule is known for it.
    """
    if isinstance(layer, nn.Linear):
        return "dense"
    if isinstance(layer, _CONVOLUTIONS) and layer.groups == 1:
        return "conv"
    if isinstance(layer, nn.LSTM):
        if layer.num_layers != 1 or layer.bidirectional or layer.proj_size:
            raise TypeError("only LSTMs of one layer, one direction and no projection are known")
        return "lstm"
    if isinstance(layer, _NORMS):
        return "batch_norm"
    if next(layer.parameters(recurse=False), None) is not None:
        raise TypeError(f"no rule for the weights of {type(layer).__name__}")
    return None


def tensors(layer: nn.Module, of: Of = Tensor.detach) -> dict[str, Tensor]:
    """A layer's own tensors by canonical name, each a view in Keras' layout.

    Writing to the view writes to the layer, so one rule serves reading and writing; with another
    `of`, it serves gradients and optimizer slots too. An LSTM's second bias comes as `bias_hh`,
    beside `bias`. What `of` does not find is left out.

    Raises:
        TypeError: No rule is known for a layer with weights of its own.
    """
    rule = kind(layer)

    def take(name: str) -> Tensor | None:
        tensor = getattr(layer, name)
        return None if tensor is None else of(tensor)

    def transposed(name: str) -> Tensor | None:
        tensor = take(name)
        return None if tensor is None else tensor.movedim((0, 1), (-1, -2))

    named: dict[str, Tensor | None] = {}
    if rule in ("dense", "conv"):
        named = {"kernel": transposed("weight"), "bias": take("bias")}
    elif rule == "lstm":
        named = {
            "kernel": transposed("weight_ih_l0"),
            "recurrent_kernel": transposed("weight_hh_l0"),
        }
        if layer.bias:
            named |= {"bias": take("bias_ih_l0"), "bias_hh": take("bias_hh_l0")}
    elif rule == "batch_norm":
        named = {name: take(attribute) for name, attribute in _NORM_NAMES.items()}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def weighted_layers(module: nn.Module) -> dict[str, nn.Module]:
    """The layers with tensors of their own, by name (`block/hidden`)."""
    return {path.replace(".", "/"): layer for path, layer in module.named_modules() if kind(layer)}


def named_tensors(module: nn.Module, of: Of = Tensor.detach) -> dict[str, Tensor]:
    """All tensors of a module by canonical name (`hidden/kernel`), views in Keras' layout."""
    return {
        f"{path}/{name}": tensor
        for path, layer in weighted_layers(module).items()
        for name, tensor in tensors(layer, of).items()
    }


def single_bias(found: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Copies as arrays, with an LSTM's two biases (or what was taken of them) added up."""
    return {
        name: (t + found[f"{name}_hh"] if f"{name}_hh" in found else t).cpu().numpy().copy()
        for name, t in found.items()
        if not name.endswith("/bias_hh")
    }


def read_weights(module: nn.Module) -> dict[str, np.ndarray]:
    """Copies of all weights and running statistics, by canonical name, in Keras' layout.

    An LSTM's `bias` is the sum of its two.
    """
    return single_bias(named_tensors(module))


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
