"""What a remedy names beside the values of both sides: code for Torch, from a pair's settings."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from compare.conventions import Numbers, literal
from compare.porting.paddings import cropped, padded

Settings = Mapping[str, Any]

Sides = tuple[Settings, Settings]
"""The settings of Keras and of Torch where the difference is."""

OPTIMIZERS: Mapping[str, str] = {
    "adadelta": "Adadelta",
    "adagrad": "Adagrad",
    "adamax": "Adamax",
    "nadam": "NAdam",
    "rmsprop": "RMSprop",
    "adamw": "AdamW",
    "adam": "Adam",
    "sgd": "SGD",
}
"""An optimizer's kind → its class in `torch.optim`; a kind behind those that it is the end of."""


def based_on(settings: Settings) -> str | None:
    """What an optimizer is called after: a subclass has its base's name at the end, as a rule."""
    kind = str(settings.get("kind"))
    return next((base for base in OPTIMIZERS if kind.endswith(base)), None)


def numbers_of(convention: str | None, setting: str, sides: Sides) -> Numbers:
    """What fills the remedy of a convention, beside the values of the setting.

    Args:
        convention: Its name; None where no convention says it.
        setting: What differs.
        sides: All settings of both sides.
    """
    fill = _FILLED.get(convention or "")
    return {} if fill is None else fill(setting, sides)


def _affine(setting: str, sides: Sides) -> Numbers:
    keras, torch = (set(side["tensors"]) for side in sides)
    return {"affine": "norm.bias = None" if torch - keras == {"beta"} else "affine=False"}


def _argument(setting: str, sides: Sides) -> Numbers:
    return {"argument": "rho"} if setting == "rho" and based_on(sides[1]) == "adadelta" else {}


def _optimizer(setting: str, sides: Sides) -> Numbers:
    return {"optimizer": OPTIMIZERS.get(based_on(sides[0]) or "")}


_CLIPS = {
    "clipnorm": "p.grad *= {0} / max(p.grad.norm(), {0})",
    "clipvalue": "p.grad.clamp_(-{0}, {0})",
    "global_clipnorm": "nn.utils.clip_grad_norm_(model.parameters(), {0})",
}


def _clip(setting: str, sides: Sides) -> Numbers:
    bound = sides[0].get(setting)
    return {} if bound is None else {"clip": _CLIPS[setting].format(literal(bound))}


def _decay(setting: str, sides: Sides) -> Numbers:
    """Of several decays that of the weights that are not spared."""
    decay = sides[0]["weight_decay"]
    return {"keras": max(decay) if isinstance(decay, list) else decay}


_WEIGHTS = {"kernel": "weight", "embeddings": "weight", "bias": "bias"}
"""What Keras penalizes or bounds → what Torch calls it."""


def _called(written: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of a call, as settings have it: `L2(l2=0.01)`.

    Both are empty where an argument is no literal, as it may be in a user's own class.
    """
    try:
        call = ast.parse(written, mode="eval").body
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            return call.func.id, {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError):
        pass
    return "", {}


def _penalty(setting: str, sides: Sides) -> Numbers:
    weight = _WEIGHTS.get(setting.removesuffix("_regularizer"))
    written = sides[0].get(setting)
    if weight is None or written is None:
        return {}
    _, factors = _called(written)
    forms = {"l1": f"{weight}.abs().sum()", "l2": f"{weight}.square().sum()"}
    terms = [
        f"{literal(factors[name])} * {form}" for name, form in forms.items() if factors.get(name)
    ]
    return {"penalty": " + ".join(["loss", *terms])} if terms else {}


_UNITS = {"0": "1", "[0, 1]": "(1, 2)", "[0, 1, 2]": "(1, 2, 3)"}
"""Axes of a kernel in Keras that hold what a unit receives → those of Torch's weight."""


def _constraint(setting: str, sides: Sides) -> Numbers:
    bounded = setting.removesuffix("_constraint")
    weight, written = _WEIGHTS.get(bounded), sides[0].get(setting)
    if weight is None or written is None:
        return {}
    name, arguments = _called(written)
    if name == "NonNeg":
        return {"constraint": f"{weight}.clamp_(min=0.0)"}
    axes = arguments.get("axis")
    dims = _UNITS.get(str(axes)) if bounded == "kernel" else str(axes)
    # A transposed convolution has its axes in an order of its own.
    if name not in ("MaxNorm", "UnitNorm") or dims is None or "output_padding" in sides[0]:
        return {}
    norm = f"torch.linalg.vector_norm({weight}, dim={dims}, keepdim=True)"
    if name == "UnitNorm":
        return {"constraint": f"{weight} /= 1e-07 + {norm}"}
    bound = f"norm.clamp(max={arguments['max_value']!r})"
    return {"constraint": f"norm = {norm}; {weight} *= {bound} / (1e-07 + norm)"}


_FILLED: Mapping[str, Callable[[str, Sides], Numbers]] = {
    "bn-affine": _affine,
    "same-padding-stride": lambda setting, sides: padded(sides[0]),
    "transposed-padding": lambda setting, sides: cropped(sides[0]),
    "huber-delta": lambda setting, sides: {"keras": sides[0].get("delta")},
    "optimizer-defaults": _argument,
    "optimizer-kind": _optimizer,
    "gradient-clipping": _clip,
    "weight-decay": _decay,
    "regularizers-in-loss": _penalty,
    "constraint-axis": _constraint,
}
"""Convention → what fills its remedy."""
