"""What a difference of a setting means, one table per kind of layer, and for losses and optimizers.

A rule is the name of a convention, or looks at all settings of both sides. What it returns is None
where no convention says it, and `NO_DIFFERENCE` where both come to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compare.parity.explain.choices import DEFAULTS
from compare.porting.paddings import begins_alike, centred, crops
from compare.porting.remedies import based_on as _based_on

Settings = Mapping[str, Any]

EXACT = 1e-12
"""Two settings are equal if they differ by no more: 1.0 - 0.99 is not 0.01 to the bit."""

NO_DIFFERENCE = ""

_Explained = Callable[[Settings, Settings], str | None]

Rule = str | _Explained
"""The convention that explains a difference of a setting, or what looks for it in all settings."""

GEOMETRY = ("strides", "dilation", "padding", "output_padding")
"""Settings of convolutions with a number for every axis of an image."""

NEUTRAL: Mapping[str, Any] = {
    **dict.fromkeys(("clipnorm", "clipvalue", "global_clipnorm", "class"), None),
    **dict.fromkeys(("use_ema", "maximize", "centered", "amsgrad", "nesterov"), False),
    **dict.fromkeys(("momentum", "dampening", "weight_decay", "lr_decay", "step_hooks"), 0.0),
    **dict.fromkeys(("label_smoothing", "class_weight", "hooks"), None),
    **dict.fromkeys(("max_norm", "loss_scale_factor"), None),
    **dict.fromkeys(("stateful", "go_backwards", "scale_grad_by_freq"), False),
    "gradient_accumulation_steps": None,
    "automatic_optimization": True,
    "track_running_stats": True,
    "padding_mode": "zeros",
    "optimizers": 1,
    "divided_by": 1.0,
}
"""Setting → what a side without it does. What is not here is compared where both sides have it."""

_REGULARIZER, _CONSTRAINT = "_regularizer", "_constraint"


def neutral(setting: str) -> bool:
    """Whether a side that does not have a setting is known not to do it."""
    return setting in NEUTRAL or setting.endswith((_REGULARIZER, _CONSTRAINT))


def convention(setting: str, rules: Mapping[str, Rule]) -> Rule | None:
    """The rule for a setting, of those of its layer's kind."""
    if setting.endswith(_REGULARIZER):
        return "regularizers-in-loss"
    if setting.endswith(_CONSTRAINT):
        return "constraint-axis"
    return rules.get(setting)


def _decay(keras: Settings, torch: Settings) -> str | None:
    """Torch's default, or Keras' number copied without turning it round."""
    if torch["decay"] is None or keras["decay"] is None:
        return None
    copied = abs(torch["decay"] - (1.0 - keras["decay"])) <= EXACT
    return "bn-momentum-copied" if copied else "bn-momentum"


def _padding(keras: Settings, torch: Settings) -> str | None:
    """`same` pads as much on both sides where the stride is one and the kernel is odd."""
    mode, padding = keras["padding"], torch["padding"]
    if keras.get("dilation") != torch.get("dilation"):
        return None  # What is padded goes with it.
    if "valid" in (mode, padding):
        return NO_DIFFERENCE  # What is padded may be padded before the layer.
    if mode == "same" and any(stride > 1 for stride in keras.get("strides", ())):
        right = not isinstance(padding, str) and begins_alike(keras, padding)
        return NO_DIFFERENCE if right else "same-padding-stride"
    if mode == "same" and not isinstance(padding, str):
        return NO_DIFFERENCE if centred(keras, padding) else "same-padding-size"
    return NO_DIFFERENCE if mode == "causal" else None


def _transposed(keras: Settings, torch: Settings) -> str | None:
    """`same` crops half of what the kernel is larger than the stride, an odd pixel at the end."""
    padding = torch["padding"]
    if isinstance(padding, str) or keras["padding"] != "same":
        # What a transposed convolution cuts off may be cut off behind it.
        return None if not isinstance(padding, str) else NO_DIFFERENCE
    begins = [max(c, 0) // 2 - p for c, p in zip(crops(keras), padding, strict=True)]
    return NO_DIFFERENCE if min(begins) >= 0 else "transposed-padding"


def _added(keras: Settings, torch: Settings) -> str | None:
    """Keras works out itself how much a transposed convolution's output grows."""
    return NO_DIFFERENCE if keras["output_padding"] is None else None


def biases(keras: Settings, torch: Settings) -> str | None:
    """Two biases of a recurrent layer where Keras has one."""
    twice = (keras["trained_biases"], torch["trained_biases"]) == (1, 2)
    return "lstm-single-bias" if twice else None


def _head_size(keras: Settings, torch: Settings) -> str | None:
    """As many heads of another size; another number of heads is a plain mistake."""
    return "attention-key-dim" if keras["heads"] == torch["heads"] else None


def _left_out(keras: Settings, torch: Settings) -> str | None:
    """γ and β that one side has alone."""
    more = set(torch["tensors"]) - set(keras["tensors"])
    if not more or more - {"gamma", "beta"}:
        return None
    return "bn-center-only" if more == {"gamma"} else "bn-affine"


OF_LAYERS: Mapping[str, Mapping[str, Rule]] = {
    "batch_norm": {
        "epsilon": "bn-epsilon",
        "decay": _decay,
        "biased": "bn-biased-variance",
        "frozen": lambda keras, torch: "bn-frozen" if keras["frozen"] else "train-mode",
        "tensors": _left_out,
    },
    "conv": {"padding": _padding},
    "depthwise_conv": {"padding": _padding},
    "conv_transpose": {"padding": _transposed, "output_padding": _added},
    "layer_norm": {"epsilon": "norm-epsilon"},
    "group_norm": {"epsilon": "norm-epsilon"},
    "attention": {"key_dim": _head_size},
    "embedding": {"padding_idx": "padding-idx"},
}
"""Kind of layer → setting → what explains a difference; `trained_biases` is of every kind."""


def _pool_padding(keras: Settings, torch: Settings) -> str | None:
    same = keras["padding"] == "same" and not isinstance(torch["padding"], str)
    return NO_DIFFERENCE if same or torch["padding"] == "valid" else None


OF_OPERATIONS: Mapping[str, Mapping[str, Rule]] = {
    "leaky_relu": {"negative_slope": "leaky-relu-slope"},
    "average_pool": {"count_include_pad": "average-pool-same", "padding": _pool_padding},
    "max_pool": {"padding": _pool_padding},
    "upsample": {"align_corners": "align-corners"},
}
"""The same of what has no weights."""


def _reduction(keras: Settings, torch: Settings) -> str | None:
    reductions = {keras["reduction"], torch["reduction"]}
    # What a function of the user's own reduces to is not known.
    if None in reductions:
        return NO_DIFFERENCE
    if torch["name"] in ("KLDivLoss", "kl_div"):
        return NO_DIFFERENCE if torch["reduction"] == "batchmean" else "kl-batchmean"
    if reductions <= {"mean", "sum_over_batch_size"}:
        return NO_DIFFERENCE
    return "loss-reduction"


OF_LOSSES: Mapping[str, Rule] = {
    "name": NO_DIFFERENCE,  # Names differ between the frameworks, and say nothing.
    # Keras undoes a sigmoid that it can see: probabilities there and logits here are one loss.
    "from_logits": NO_DIFFERENCE,
    "reduction": _reduction,
    "label_smoothing": "label-smoothing",
    "class_weight": "class-weights",
    "divided_by": "huber-delta",
}


def _stock(torch: Settings) -> bool:
    """Whether it is one of Torch's own: a subclass may compute as Keras does."""
    return torch.get("class") is None and torch.get("kind") == _based_on(torch)


def _kind(keras: Settings, torch: Settings) -> str | None:
    kinds = {_based_on(keras), _based_on(torch)}
    if None in kinds or len(kinds) == 1:
        return NO_DIFFERENCE
    if kinds != {"adam", "adamw"}:
        return "optimizer-kind"
    # Keras' Adam decays as its AdamW does: beside the step.
    coupled = _based_on(torch) == "adam" and torch.get("weight_decay") and _stock(torch)
    return "weight-decay" if coupled else NO_DIFFERENCE


def _rate(keras: Settings, torch: Settings) -> str | None:
    if isinstance(torch["learning_rate"], Mapping | list):
        return None  # A callback may be Keras' schedule; groups have rates of their own.
    if isinstance(keras["learning_rate"], Mapping):
        return "learning-rate-schedule"
    if _based_on(torch) == "sgd" and torch["learning_rate"] == 1e-3:
        return "sgd-default-learning-rate"
    return _default("learning_rate", "rate")(keras, torch)


def _default(setting: str, name: str) -> _Explained:
    """What nobody set in Torch, and is another number by default in Keras."""

    def rule(keras: Settings, torch: Settings) -> str | None:
        kind = _based_on(torch) or ""
        default = DEFAULTS.get((kind.removesuffix("w"), name))
        left = default is not None and torch[setting] == default[1]
        return "optimizer-defaults" if left else None

    return rule


_OWN_EPSILON = {
    "adam": "adam-epsilon",
    "adamw": "adam-epsilon",
    "adamax": "adamax-epsilon",
    "rmsprop": "rmsprop-epsilon",
    "adagrad": "adagrad-epsilon",
}


def _epsilon(keras: Settings, torch: Settings) -> str | None:
    if not _stock(torch):
        return NO_DIFFERENCE
    names = {_OWN_EPSILON.get(_based_on(side) or "") for side in (keras, torch)}
    own = names.pop() if len(names) == 1 else None
    return own or _default("epsilon", "epsilon")(keras, torch)


def _of_stock(rule: _Explained) -> _Explained:
    """A rule about what Torch's own optimizers compute with."""
    return lambda keras, torch: rule(keras, torch) if _stock(torch) else NO_DIFFERENCE


def _weight_decay(keras: Settings, torch: Settings) -> str | None:
    decays = keras["weight_decay"], torch["weight_decay"]
    if not _stock(torch):
        return NO_DIFFERENCE
    if not all(decays):
        return None  # It may be done by hand, or by regularizers.
    if _based_on(torch) == "adamw":
        return _default("weight_decay", "decay")(keras, torch)
    return "weight-decay"


OF_OPTIMIZERS: Mapping[str, Rule] = {
    "kind": _kind,
    "class": NO_DIFFERENCE,
    "learning_rate": _rate,
    "epsilon": _epsilon,
    "rho": _of_stock(_default("rho", "beta_2")),
    "initial_accumulator_value": _of_stock(_default("initial_accumulator_value", "accumulator")),
    "weight_decay": _weight_decay,
    "dampening": "sgd-dampening",
    **dict.fromkeys(("clipnorm", "clipvalue", "global_clipnorm"), "gradient-clipping"),
    "gradient_accumulation_steps": "gradient-accumulation",
}
"""Setting → the convention that explains a difference."""
