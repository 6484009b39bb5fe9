"""Settings of layers, optimizers and losses under Keras' names; and what draws random numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning as L
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
    if not getattr(norm, "track_running_stats", True):
        values["track_running_stats"] = False
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
    "embedding": lambda embedding: {
        "padding_idx": embedding.padding_idx,
        **({} if embedding.max_norm is None else {"max_norm": float(embedding.max_norm)}),
        **({"scale_grad_by_freq": True} if embedding.scale_grad_by_freq else {}),
    },
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
    torch.optim.Adagrad: "adagrad",
    torch.optim.Adadelta: "adadelta",
    torch.optim.Adamax: "adamax",
    torch.optim.NAdam: "nadam",
}
_NAMES = {
    "lr": "learning_rate",
    "momentum": "momentum",
    "nesterov": "nesterov",
    "eps": "epsilon",
    "weight_decay": "weight_decay",
    "alpha": "rho",
    "centered": "centered",
    "amsgrad": "amsgrad",
    "rho": "rho",
    "momentum_decay": "momentum_decay",
    "initial_accumulator_value": "initial_accumulator_value",
}
_RARE = {"dampening": "dampening", "maximize": "maximize", "lr_decay": "lr_decay"}
"""What says nothing unless it is set."""

_FROM_LOGITS = {
    **dict.fromkeys(("BCEWithLogitsLoss", "binary_cross_entropy_with_logits"), True),
    **dict.fromkeys(("CrossEntropyLoss", "cross_entropy"), True),
    **dict.fromkeys(("BCELoss", "binary_cross_entropy", "NLLLoss", "nll_loss"), False),
}


def optimizer_settings(module: nn.Module, objective: Objective | None = None) -> Settings:
    """Settings of the optimizer that would train a module; the module is left as it was found."""
    pairs = configured(module, objective)
    values = _of(*pairs[0]) if pairs else {}
    if len(pairs) > 1:
        values["optimizers"] = len(pairs)
    if isinstance(module, L.LightningModule):
        values |= _by_lightning(module)
    return values


def configured(
    module: nn.Module, objective: Objective | None = None
) -> list[tuple[torch.optim.Optimizer, Any]]:
    """Every optimizer that would train a module, with its schedule or None; the module is kept.

    Empty where there is none, or `configure_optimizers` cannot be called before training.
    """
    if objective is not None and objective[1] is None:
        return []
    with as_found(module):
        try:
            if objective is not None:
                optimizer: Any = objective[1]
                returned = optimizer(module.parameters())
            else:
                own: Any = module
                returned = own.configure_optimizers()
        # One that asks its Trainer for the number of steps, say: it is judged by what it does.
        except Exception:
            return []
    return list(_pairs(returned))


def _pairs(returned: Any) -> Iterator[tuple[torch.optim.Optimizer, Any]]:
    """Optimizers and schedules, of all that Lightning allows to return."""
    if isinstance(returned, (tuple, list)):
        lists = len(returned) == 2 and all(isinstance(part, (tuple, list)) for part in returned)
        if not lists:
            for part in returned:
                yield from _pairs(part)
            return
        optimizers, schedules = returned
        for at, optimizer in enumerate(optimizers):
            schedule = schedules[at] if at < len(schedules) else None
            yield from _pairs({"optimizer": optimizer, "lr_scheduler": schedule})
    elif isinstance(returned, dict):
        schedule = returned.get("lr_scheduler")
        schedule = schedule.get("scheduler") if isinstance(schedule, dict) else schedule
        if isinstance(returned.get("optimizer"), torch.optim.Optimizer):
            yield returned["optimizer"], schedule
    elif isinstance(returned, torch.optim.Optimizer):
        yield returned, None


def _of(optimizer: torch.optim.Optimizer, schedule: Any) -> Settings:
    known = next((cls for cls in type(optimizer).__mro__ if cls in _KINDS), type(optimizer))
    values: Settings = {"kind": _KINDS.get(known, known.__name__.lower())}
    if known is not type(optimizer):
        values["class"] = type(optimizer).__name__
    for own, name in {**_NAMES, **_RARE}.items():
        by_group = [group[own] for group in optimizer.param_groups if group.get(own) is not None]
        if by_group and (own in _NAMES or any(by_group)):
            values[name] = _shared(by_group)
    if "betas" in optimizer.param_groups[0]:
        values["beta_1"], values["beta_2"] = map(float, optimizer.param_groups[0]["betas"])
    if schedule is not None:
        values["learning_rate"] = {"schedule": type(schedule).__name__}
    hooks = [*optimizer._optimizer_step_pre_hooks, *optimizer._optimizer_step_post_hooks]
    return {**values, "step_hooks": len(hooks)} if hooks else values


def _shared(values: Sequence[Any]) -> Any:
    """The value of all groups of parameters, or every value that one of them has."""
    numbers = list(dict.fromkeys(v if isinstance(v, bool) else float(v) for v in values))
    return numbers[0] if len(numbers) == 1 else sorted(numbers, reverse=True)


_IN_STEPS = (
    "configure_gradient_clipping",
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
    "lr_scheduler_step",
    "on_before_optimizer_step",
    "on_before_backward",
    "on_after_backward",
    "on_before_zero_grad",
    "on_train_batch_start",
    "on_train_batch_end",
)
"""Methods that may change a step; Keras has none of them."""


def _by_lightning(module: L.LightningModule) -> Settings:
    """What changes steps beside the optimizer: hooks, and the Trainer's clipping."""
    values: Settings = {}
    if hooks := [name for name in _IN_STEPS if overrides(module, name)]:
        values["hooks"] = hooks
    if not module.automatic_optimization:
        values["automatic_optimization"] = False
    trainer = module._trainer
    if trainer is None:
        return values
    if trainer.gradient_clip_val is not None:
        by_value = str(trainer.gradient_clip_algorithm or "norm").endswith("value")
        values["clipvalue" if by_value else "global_clipnorm"] = float(trainer.gradient_clip_val)
    if trainer.accumulate_grad_batches > 1:
        values["gradient_accumulation_steps"] = trainer.accumulate_grad_batches
    return values


def overrides(module: L.LightningModule, name: str) -> bool:
    """Whether a module has a method of its own where Lightning has one."""
    own = getattr(type(module), name, None)
    return name in vars(module) or own is not getattr(L.LightningModule, name, None)


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
    values: Settings = {"name": name, "from_logits": _FROM_LOGITS.get(name), "reduction": reduction}
    read = loss if isinstance(loss, nn.Module) else None
    for own, setting in _OF_LOSSES.items():
        value = keywords.get(own, getattr(read, own, None))
        if value:
            values[setting] = float(value)
    if "beta" in values:
        # Huber's loss, divided by its δ.
        values["divided_by"] = values["delta"] = values.pop("beta")
    weight = keywords.get("weight", getattr(read, "weight", None))
    return values if weight is None else {**values, "class_weight": weight.tolist()}


_OF_LOSSES = {"label_smoothing": "label_smoothing", "delta": "delta", "beta": "beta"}
"""A loss's own argument → the setting."""

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
