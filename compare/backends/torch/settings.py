"""Settings of layers, optimizers and losses under Keras' names; and what draws random numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bn_torch.norm import BiasedBatchNorm
from compare.backends.protocol import Objective
from compare.backends.torch.preserve_state import as_found
from compare.backends.torch.rules import is_recurrent, recurrent_kind
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
    read = _OF_KIND.get(layer.kind)
    return read(layer.module) if read is not None and _is_stock(layer.module) else {}


def _is_stock(module: nn.Module) -> bool:
    """Whether it is, or derives from, a layer of Torch: a rule of the user's may borrow a kind."""
    return any(cls.__module__.startswith("torch.nn.modules") for cls in type(module).__mro__[:-2])


def _batch_norm(norm: nn.Module, frozen: bool) -> Settings:
    if not isinstance(norm, (nn.modules.batchnorm._BatchNorm, BiasedBatchNorm)):
        return {"frozen": frozen}
    values: Settings = {
        "epsilon": norm.eps,
        # Torch counts the share of the new batch; None is the mean of all batches so far.
        "decay": None if norm.momentum is None else 1.0 - norm.momentum,
        "frozen": frozen,
    }
    # What a subclass tracks is its own affair.
    if isinstance(norm, BiasedBatchNorm) or type(norm).__module__.startswith("torch.nn."):
        values["biased"] = isinstance(norm, BiasedBatchNorm)
    return values


def _recurrent(layer: Layer) -> Settings:
    rnn = layer.module
    if not isinstance(rnn, nn.RNNBase):
        return {}
    kind = recurrent_kind(rnn)
    bias = next((c for name, c in layer.known.items() if name.endswith("bias")), None)
    values: Settings = {
        "activation": rnn.nonlinearity if kind == "simple_rnn" else "tanh",
        "trained_biases": sum(t.requires_grad for t in bias.tensors(rnn)) if bias else 0,
        "batch_first": rnn.batch_first,
    }
    if kind != "simple_rnn":
        values["recurrent_activation"] = "sigmoid"
    return values


def _convolution(conv: Any) -> Settings:
    padding = conv.padding if isinstance(conv.padding, str) else list(conv.padding)
    padding = padding if any(padding) else "valid"
    values: Settings = {"strides": list(conv.stride), "dilation": list(conv.dilation)}
    if isinstance(conv, nn.modules.conv._ConvTransposeNd):
        return values | {"padding": padding, "output_padding": list(conv.output_padding)}
    values |= {"groups": conv.groups, "padding": padding}
    return values if conv.padding_mode == "zeros" else {**values, "padding_mode": conv.padding_mode}


_OF_KIND: dict[str, Callable[[Any], Settings]] = {
    **dict.fromkeys(("conv", "depthwise_conv", "conv_transpose"), _convolution),
    "layer_norm": lambda norm: {"epsilon": norm.eps},
    "group_norm": lambda norm: {"epsilon": norm.eps, "groups": norm.num_groups},
    "embedding": lambda embedding: {"padding_idx": embedding.padding_idx},
    "attention": lambda attention: {
        "heads": attention.num_heads,
        "key_dim": attention.head_dim,
        "dropout": float(attention.dropout),
    },
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
    **dict.fromkeys(("BCEWithLogitsLoss", "binary_cross_entropy_with_logits"), True),
    **dict.fromkeys(("CrossEntropyLoss", "cross_entropy"), True),
    **dict.fromkeys(("BCELoss", "binary_cross_entropy", "NLLLoss", "nll_loss"), False),
}


def optimizer_settings(module: nn.Module, objective: Objective | None = None) -> Settings:
    """Settings of the optimizer that would train a module; the module is left as it was found."""
    with as_found(module):
        try:
            if objective is not None:
                optimizer: Any = objective[1]
                configured = optimizer(module.parameters())
            else:
                own: Any = module
                configured = own.configure_optimizers()
        # One that asks its Trainer for the number of steps, say: it is judged by what it does.
        except Exception:
            return {}
    first, schedule = _first(configured)
    return {} if first is None else _of(first, schedule)


def _first(configured: Any) -> tuple[torch.optim.Optimizer | None, str | None]:
    """The first optimizer and the class of its schedule, of all that Lightning allows."""
    schedule = None
    if isinstance(configured, (tuple, list)):
        if len(configured) == 2 and isinstance(configured[0], (tuple, list)):
            configured, schedules = configured
            schedule = next(iter(schedules), None)
        configured = next(iter(configured), None)
    if isinstance(configured, dict):
        schedule = configured.get("lr_scheduler", schedule)
        configured = configured.get("optimizer")
    if isinstance(schedule, dict):
        schedule = schedule.get("scheduler")
    if not isinstance(configured, torch.optim.Optimizer):
        return None, None
    return configured, None if schedule is None else type(schedule).__name__


def _of(optimizer: torch.optim.Optimizer, schedule: str | None) -> Settings:
    known = next((cls for cls in type(optimizer).__mro__ if cls in _KINDS), type(optimizer))
    values: Settings = {"kind": _KINDS.get(known, known.__name__.lower())}
    if known is not type(optimizer):
        values["class"] = type(optimizer).__name__
    for own, name in _NAMES.items():
        first, *others = [group.get(own) for group in optimizer.param_groups]
        if first is not None and all(value == first for value in others):
            values[name] = first if isinstance(first, bool) else float(first)
    if "betas" in optimizer.param_groups[0]:
        values["beta_1"], values["beta_2"] = map(float, optimizer.param_groups[0]["betas"])
    if not values.get("dampening"):
        values.pop("dampening", None)
    if schedule is not None:
        values["learning_rate"] = {"schedule": schedule}
    return values


def loss_settings(module: nn.Module, objective: Objective | None = None) -> Settings:
    """`name`, `from_logits` and `reduction` of a plain module's loss; empty where it is unknown."""
    if objective is None:
        return {}
    loss: Any = objective[0]
    keywords: dict[str, Any] = {}
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

    A part that stays in inference mode while the rest trains draws none.
    """
    return [
        f"{path.replace('.', '/') or 'the module itself'} ({type(part).__name__}, {what})"
        for path, part in module.named_modules()
        if (what := _drawn(part)) and (part.training or not module.training)
    ]


def _drawn(part: Any) -> str | None:
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
