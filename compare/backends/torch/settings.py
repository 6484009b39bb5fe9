"""The settings of layers under Keras' names and by Keras' conventions."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bn_torch.norm import BiasedBatchNorm
from compare.backends.torch.layouts import is_recurrent
from compare.backends.torch.preserve_state import as_found
from compare.backends.torch.rules import recurrent_kind
from compare.backends.torch.weights import Layer

Settings = dict[str, Any]


def settings(layer: Layer, *, frozen: bool = False) -> Settings:
    """What a layer does beside its weights, as JSON; empty where nothing is known.

    Args:
        layer: The layer.
        frozen: Whether it stays in inference mode while the rest trains.
    """
    if layer.kind == "batch_norm":
        return _batch_norm(layer.module, frozen)
    if is_recurrent(layer.kind):
        return _recurrent(layer)
    found = _OF_KIND.get(layer.kind)
    return found(layer.module) if found is not None and _is_stock(layer.module) else {}


def _is_stock(module: nn.Module) -> bool:
    """Whether it is, or derives from, a layer of Torch: a rule of the user's may borrow a kind."""
    return any(cls.__module__.startswith("torch.nn.modules") for cls in type(module).__mro__[:-2])


def _batch_norm(norm: nn.Module, frozen: bool) -> Settings:
    if not isinstance(norm, (nn.modules.batchnorm._BatchNorm, BiasedBatchNorm)):
        return {"frozen": frozen}
    found = {
        "epsilon": norm.eps,
        # Torch counts the share of the new batch; None is the mean of all batches so far.
        "decay": None if norm.momentum is None else 1.0 - norm.momentum,
        "frozen": frozen,
    }
    if isinstance(norm, BiasedBatchNorm):
        found["biased"] = True
    elif type(norm).__module__.startswith("torch.nn."):
        # What a subclass tracks is its own affair.
        found["biased"] = False
    return found


def _recurrent(layer: Layer) -> Settings:
    rnn = layer.module
    if not isinstance(rnn, nn.RNNBase):
        return {}
    kind = recurrent_kind(rnn)
    found: Settings = {
        "activation": rnn.nonlinearity if kind == "simple_rnn" else "tanh",
        "trained_biases": _trained_biases(layer),
        "batch_first": rnn.batch_first,
    }
    if kind != "simple_rnn":
        found["recurrent_activation"] = "sigmoid"
    return found


def _trained_biases(layer: Layer) -> int:
    bias = next((c for name, c in layer.known.items() if name.endswith("bias")), None)
    return 0 if bias is None else sum(t.requires_grad for t in bias.tensors(layer.module))


def _convolution(conv: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> Settings:
    found = {
        "strides": list(conv.stride),
        "dilation": list(conv.dilation),
        "groups": conv.groups,
        "padding": _padding(conv.padding),
    }
    if conv.padding_mode != "zeros":
        found["padding_mode"] = conv.padding_mode
    return found


def _padding(declared: str | tuple[int, ...]) -> str | list[int]:
    if isinstance(declared, str):
        return declared
    return list(declared) if any(declared) else "valid"


def _transposed(conv: nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d) -> Settings:
    return {
        "strides": list(conv.stride),
        "dilation": list(conv.dilation),
        "padding": _padding(conv.padding),
        "output_padding": list(conv.output_padding),
    }


def _attention(attention: nn.MultiheadAttention) -> Settings:
    return {
        "heads": attention.num_heads,
        "key_dim": attention.head_dim,
        "dropout": float(attention.dropout),
    }


_OF_KIND: dict[str, Callable[[Any], Settings]] = {
    "conv": _convolution,
    "depthwise_conv": _convolution,
    "conv_transpose": _transposed,
    "layer_norm": lambda norm: {"epsilon": norm.eps},
    "group_norm": lambda norm: {"epsilon": norm.eps, "groups": norm.num_groups},
    "embedding": lambda embedding: {"padding_idx": embedding.padding_idx},
    "attention": _attention,
}


_KINDS = {
    torch.optim.SGD: "sgd",
    torch.optim.Adam: "adam",
    torch.optim.AdamW: "adamw",
    torch.optim.RMSprop: "rmsprop",
}
_NAMES = {
    "lr": "learning_rate",
    "momentum": "momentum",
    "dampening": "dampening",
    "nesterov": "nesterov",
    "eps": "epsilon",
    "weight_decay": "weight_decay",
    "alpha": "rho",
    "centered": "centered",
    "amsgrad": "amsgrad",
}
_FROM_LOGITS = {
    "BCEWithLogitsLoss": True,
    "CrossEntropyLoss": True,
    "BCELoss": False,
    "NLLLoss": False,
    "binary_cross_entropy_with_logits": True,
    "cross_entropy": True,
    "binary_cross_entropy": False,
    "nll_loss": False,
}


def optimizer_settings(
    module: nn.Module, objective: tuple[Any, Any] | None = None
) -> dict[str, Any]:
    """Settings of the optimizer that would train a module; the module is left as it was found.

    Args:
        module: A LightningModule, or a plain module with an `objective`.
        objective: `loss(output, target)` and `optimizer(parameters)` of a plain module.

    Returns:
        `kind` and the numbers that all groups of parameters share. `learning_rate` is
        `{"schedule": class}` where a schedule changes it. `class` is there for a subclass of one of
        Torch's. Empty where `configure_optimizers` cannot be called before training.
    """
    with as_found(module):
        try:
            if objective is not None:
                found = objective[1](module.parameters())
            else:
                found = copy.deepcopy(module).configure_optimizers()
        # One that asks its Trainer for the number of steps, say: it is judged by what it does.
        except Exception:
            return {}
    optimizer, schedule = _first(found)
    return {} if optimizer is None else _of(optimizer, schedule)


def _first(found: Any) -> tuple[torch.optim.Optimizer | None, str | None]:
    """The first optimizer and the class of its schedule, of all that Lightning allows."""
    schedule = None
    if isinstance(found, (tuple, list)):
        if len(found) == 2 and isinstance(found[0], (tuple, list)):
            found, schedules = found
            schedule = next(iter(schedules), None)
        found = next(iter(found), None)
    if isinstance(found, dict):
        schedule = found.get("lr_scheduler", schedule)
        found = found.get("optimizer")
    if isinstance(schedule, dict):
        schedule = schedule.get("scheduler")
    if not isinstance(found, torch.optim.Optimizer):
        return None, None
    return found, None if schedule is None else type(schedule).__name__


def _of(optimizer: torch.optim.Optimizer, schedule: str | None) -> dict[str, Any]:
    known = next((cls for cls in type(optimizer).__mro__ if cls in _KINDS), None)
    found: dict[str, Any] = {"kind": _KINDS.get(known, type(optimizer).__name__.lower())}
    if known is not None and type(optimizer) is not known:
        found["class"] = type(optimizer).__name__
    first = optimizer.param_groups[0]
    for own, name in _NAMES.items():
        values = [group.get(own) for group in optimizer.param_groups]
        if values[0] is not None and all(value == values[0] for value in values):
            found[name] = values[0] if isinstance(values[0], bool) else float(values[0])
    if "betas" in first:
        found["beta_1"], found["beta_2"] = map(float, first["betas"])
    if not found.get("dampening"):
        found.pop("dampening", None)
    if schedule is not None:
        found["learning_rate"] = {"schedule": schedule}
    return found


def loss_settings(
    module: nn.Module, objective: tuple[Callable[..., Any], Any] | None = None
) -> dict[str, Any]:
    """`name`, `from_logits` and `reduction` of a plain module's loss; empty where it is unknown.

    Args:
        module: Whose loss it is; a LightningModule's is inside its `training_step`.
        objective: `loss(output, target)` and `optimizer(parameters)` of a plain module.
    """
    if objective is None:
        return {}
    loss, keywords = objective[0], {}
    if isinstance(loss, functools.partial):
        loss, keywords = loss.func, loss.keywords
    if isinstance(loss, nn.Module):
        name, reduction = type(loss).__name__, getattr(loss, "reduction", None)
    else:
        name, reduction = getattr(loss, "__name__", "<lambda>"), keywords.get("reduction")
        if reduction is None and getattr(loss, "__module__", "") == "torch.nn.functional":
            reduction = "mean"
    if name == "<lambda>":
        return {}
    return {"name": name, "from_logits": _FROM_LOGITS.get(name), "reduction": reduction}


_PATHS = ("DropPath", "StochasticDepth")
"""Classes of other libraries that leave out whole branches."""


def random_parts(module: nn.Module) -> list[str]:
    """`path (Dropout, rate 0.5)` for every part that draws numbers in training mode.

    A part that stays in inference mode while the rest trains draws none. Functions such as
    `torch.nn.functional.dropout` cannot be seen.
    """
    return [
        f"{path.replace('.', '/') or 'the module itself'} ({type(part).__name__}, {what})"
        for path, part in module.named_modules()
        if (what := _drawn(part)) and (part.training or not module.training)
    ]


def _drawn(part: nn.Module) -> str | None:
    if isinstance(part, nn.RReLU):
        return f"slope {part.lower} to {part.upper}" if part.lower != part.upper else None
    if isinstance(part, (nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)):
        return "random regions" if part._random_samples is None else None
    rate = 0.0
    if isinstance(part, nn.modules.dropout._DropoutNd):
        rate = part.p
    elif isinstance(part, nn.MultiheadAttention) or (
        isinstance(part, nn.RNNBase) and part.num_layers > 1
    ):
        rate = part.dropout
    elif type(part).__name__ in _PATHS:
        rate = getattr(part, "drop_prob", getattr(part, "p", 0.0)) or 0.0
    return f"rate {rate}" if rate > 0 else None
