"""Compare how two models are set: some differences show before anything is computed.

The settings are those that `describe` and a trace carry along, in Keras' conventions. A finding is
no verdict: a setting may differ and something else make up for it. The ladder decides.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare.backends.structures import Structure
from compare.parity.findings import Finding, grouped, sentence
from compare.parity.randomness import inspect_draws
from compare.porting.matching import Partners, match, unpaired
from compare.porting.matching import partners as names_of
from compare.porting.models import build_pair, first_samples
from compare.porting.options import Options
from compare.porting.randomness import shared_trace
from compare.trace import Trace

Settings = Mapping[str, Any]

EXACT = 1e-12
"""Two settings are equal if they differ by no more: 1.0 - 0.99 is not 0.01 to the bit."""

SINGLE = 1e-6
"""Or relative to their size: a model in float32 holds its learning rate rounded."""

NO_DIFFERENCE = ""
"""What an explanation returns where two settings come to the same."""

GEOMETRY = ("strides", "dilation", "padding", "output_padding")
"""Settings of convolutions with a number for every axis of an image."""

Rule = str | Callable[[Settings, Settings], str | None]
"""The convention that explains a difference of a setting, or what looks for it in all settings."""


@dataclass(frozen=True)
class Inspection:
    """What inspecting a pair tells.

    Attributes:
        findings: Settings in which the two sides differ, in the order in which layers run.
        alone: Layers without a partner on the other side, in words.
    """

    findings: tuple[Finding, ...]
    alone: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [*self.alone, *map(sentence, grouped(self.findings))]
        if not lines:
            return "Nothing differs that inspection can see; compare.check_parity runs both."
        return "\n".join(lines)


def inspect_pair(
    keras_model: Any,
    torch_module: Any,
    x: Structure | None = None,
    *,
    torch_loss: Callable[[Any, Any], Any] | None = None,
    torch_optimizer: Callable[[Any], Any] | None = None,
    pairs: Mapping[str, str] | None = None,
    to_torch: Callable[[Structure], Structure] | None = None,
) -> Inspection:
    """Compare how two models are set: epsilons, decays, paddings, biases, optimizers, losses.

    Nothing is trained. A finding is no verdict: something else may make up for it; the ladder of
    `compare.check_parity` decides.

    Args:
        keras_model: As in `compare.check_parity`.
        torch_module: As in `compare.check_parity`.
        x: Some samples in Keras' layout; None for synthetic ones of the Keras model's input shapes.
        torch_loss: As in `compare.check_parity`.
        torch_optimizer: As in `compare.check_parity`.
        pairs: As in `compare.check_parity`.
        to_torch: As in `compare.check_parity`.

    Raises:
        InputError: A model cannot be used.
        MissingDependencyError: Keras or Torch is not installed.
    """
    options = Options(
        torch_loss=torch_loss, torch_optimizer=torch_optimizer, pairs=pairs, to_torch=to_torch
    )
    pair = build_pair(keras_model, torch_module, x, options)
    batches = [(first_samples(pair.x), None)]
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
        keras = shared_trace(pair.keras, batches, Path(scratch) / "keras")
        torch = shared_trace(pair.torch, batches, Path(scratch) / "torch", keras)
        sizes = image_sizes(keras)
        partners = match(keras.layers, torch.layers, pairs)
        draws = inspect_draws(keras, torch, names_of(partners))
    alone = [
        f"{layer['name']} ({layer['kind']}) in {side} has no partner"
        for side, _, layer in unpaired(keras.layers, torch.layers, partners)
    ]
    findings = (
        *inspect_layers(partners, sizes),
        *draws,
        *inspect_training(pair.keras.training(), pair.torch.training()),
    )
    return Inspection(findings, tuple(alone))


def inspect_layers(pairs: Iterable[Partners], sizes: Mapping[str, Sequence[int]]) -> list[Finding]:
    """What the settings of partners tell, in the order in which layers run.

    Args:
        pairs: Partners, each layer with its `settings`.
        sizes: Keras layer → the size of the images that it receives, as in `image_sizes`. Where it
            is not known, a padding that is right for some sizes is no finding.
    """
    findings = []
    for pair in pairs:
        name = pair.keras["name"]
        keras, torch = pair.keras.get("settings", {}), pair.torch.get("settings", {})
        if torch.get("padding_idx") is not None and not keras.get("mask_zero"):
            findings.append(Finding(name, "padding_idx", None, torch["padding_idx"], "padding-idx"))
        kernels = [side["tensors"].get("kernel", ()) for side in (pair.keras, pair.torch)]
        if len(kernels[0]) != len(kernels[1]):
            # One works on images, the other on series: the structure tells.
            keras = {setting: keras[setting] for setting in keras if setting not in GEOMETRY}
        keras = {**keras, "kernel_size": kernels[0][:-2], "image_size": sizes.get(name)}
        rules = {"trained_biases": _biases, **OF_LAYERS.get(pair.keras["kind"], {})}
        findings += _differing(name, keras, torch, rules)
    return findings


def inspect_training(keras: Settings, torch: Settings) -> list[Finding]:
    """What the two sides' losses and optimizers tell.

    Args:
        keras: `optimizer` and `loss`, each a mapping of settings, None or left out where unknown.
        torch: The same of the other side.
    """
    parts = (("loss", OF_LOSSES), ("optimizer", OF_OPTIMIZERS))
    return [
        finding
        for part, rules in parts
        for finding in _differing(part, keras.get(part) or {}, torch.get(part) or {}, rules)
    ]


def image_sizes(keras: Trace) -> dict[str, tuple[int, ...]]:
    """Layer → the shape of its input in Keras' trace without samples and channels."""
    keys = {layer["name"]: f"training/{layer['name']}/input" for layer in keras.layers}
    return {name: keras[key].shape[1:-1] for name, key in keys.items() if key in keras}


def _differing(
    name: str, keras: Settings, torch: Settings, rules: Mapping[str, Rule]
) -> Iterator[Finding]:
    for setting in keras:
        if setting in torch and not _equal(keras[setting], torch[setting]):
            rule = rules.get(setting)
            convention = rule(keras, torch) if callable(rule) else rule
            if convention != NO_DIFFERENCE:
                yield Finding(name, setting, keras[setting], torch[setting], convention)


def _equal(keras: Any, torch: Any) -> bool:
    numbers = (int, float)
    if isinstance(keras, numbers) and isinstance(torch, numbers):
        return math.isclose(keras, torch, rel_tol=SINGLE, abs_tol=EXACT)
    if isinstance(keras, Mapping) and isinstance(torch, Mapping):
        return True  # Two schedules: their names differ between the frameworks.
    return bool(keras == torch)


def _decay(keras: Settings, torch: Settings) -> str | None:
    """Torch's default, or Keras' number copied without turning it round."""
    if torch["decay"] is None or keras["decay"] is None:
        return None
    copied = abs(torch["decay"] - (1.0 - keras["decay"])) <= EXACT
    return "bn-momentum-copied" if copied else "bn-momentum"


def _padding(keras: Settings, torch: Settings) -> str | None:
    """`same` pads as much on both sides where the stride is one and the kernel is odd."""
    mode, padding = keras["padding"], torch["padding"]
    if "valid" in (mode, padding):
        return NO_DIFFERENCE  # What is padded may be padded before the layer.
    if mode == "same" and any(stride > 1 for stride in keras.get("strides", ())):
        right = not isinstance(padding, str) and _begins_alike(keras, padding)
        return NO_DIFFERENCE if right else "same-padding-stride"
    if mode == "same" and not isinstance(padding, str):
        return NO_DIFFERENCE if _centred(keras, padding) else None
    return NO_DIFFERENCE if mode == "causal" else None


def _centred(keras: Settings, padding: Sequence[int]) -> bool:
    """Whether padding on both sides is what `same` means, as far as the settings tell."""
    size, dilation = keras["kernel_size"], keras.get("dilation", [1] * len(padding))
    return all(2 * p == d * (k - 1) for p, d, k in zip(padding, dilation, size, strict=True))


def _begins_alike(keras: Settings, padding: Sequence[int]) -> bool:
    """Whether a strided `same` may begin its padding as Torch does, along every axis."""
    known = keras["image_size"]
    axes = zip(keras["kernel_size"], keras["strides"], keras["dilation"], padding, strict=True)
    for axis, (kernel, stride, dilation, begin) in enumerate(axes):
        reach = dilation * (kernel - 1) + 1
        # TensorFlow pads as little as the size of the image, modulo the stride, asks for.
        sizes = range(reach, reach + stride) if known is None else [known[axis]]
        totals = (max((-(-size // stride) - 1) * stride + reach - size, 0) for size in sizes)
        if all(total // 2 != begin for total in totals):
            return False
    return True


def _transposed(keras: Settings, torch: Settings) -> str | None:
    """`same` crops half of what the kernel is larger than the stride, an odd pixel at the end."""
    padding = torch["padding"]
    if isinstance(padding, str) or keras["padding"] != "same":
        # What a transposed convolution cuts off may be cut off behind it.
        return None if not isinstance(padding, str) else NO_DIFFERENCE
    axes = zip(keras["kernel_size"], keras["strides"], keras["dilation"], padding, strict=True)
    begins = [max(d * (k - 1) + 1 - s, 0) // 2 - p for k, s, d, p in axes]
    return NO_DIFFERENCE if min(begins) >= 0 else "transposed-padding"


def _added(keras: Settings, torch: Settings) -> str | None:
    """Keras works out itself how much a transposed convolution's output grows."""
    return NO_DIFFERENCE if keras["output_padding"] is None else None


def _biases(keras: Settings, torch: Settings) -> str | None:
    twice = (keras["trained_biases"], torch["trained_biases"]) == (1, 2)
    return "lstm-single-bias" if twice else None


OF_LAYERS: Mapping[str, Mapping[str, Rule]] = {
    "batch_norm": {
        "epsilon": "bn-epsilon",
        "decay": _decay,
        "biased": "bn-biased-variance",
        "frozen": "bn-frozen",
    },
    "conv": {"padding": _padding},
    "depthwise_conv": {"padding": _padding},
    "conv_transpose": {"padding": _transposed, "output_padding": _added},
    "layer_norm": {"epsilon": "norm-epsilon"},
    "group_norm": {"epsilon": "norm-epsilon"},
}
"""Kind of layer → setting → what explains a difference; `trained_biases` is of every kind."""


def _reduction(keras: Settings, torch: Settings) -> str | None:
    reductions = {keras["reduction"], torch["reduction"]}
    # What a function of the user's own reduces to is not known.
    if None in reductions or reductions <= {"mean", "sum_over_batch_size"}:
        return NO_DIFFERENCE
    return "loss-reduction"


OF_LOSSES: Mapping[str, Rule] = {
    "name": NO_DIFFERENCE,  # Names differ between the frameworks, and say nothing.
    # Keras undoes a sigmoid that it can see: probabilities there and logits here are one loss.
    "from_logits": NO_DIFFERENCE,
    "reduction": _reduction,
}

_OPTIMIZERS = ("adadelta", "adagrad", "adamax", "nadam", "rmsprop", "adamw", "adam", "sgd")


def _based_on(settings: Settings) -> str | None:
    """What an optimizer is called after: a subclass has its base's name at the end, as a rule."""
    kind = str(settings.get("kind"))
    return next((base for base in _OPTIMIZERS if kind.endswith(base)), None)


def _stock(torch: Settings) -> bool:
    """Whether it is one of Torch's own: a subclass may compute as Keras does."""
    return "class" not in torch and torch.get("kind") == _based_on(torch)


def _kind(keras: Settings, torch: Settings) -> str | None:
    kinds = {_based_on(keras), _based_on(torch)}
    if None in kinds or len(kinds) == 1:
        return NO_DIFFERENCE
    if kinds != {"adam", "adamw"}:
        return None
    # Keras' Adam decays as its AdamW does: beside the step.
    coupled = _based_on(torch) == "adam" and torch.get("weight_decay") and _stock(torch)
    return "weight-decay" if coupled else NO_DIFFERENCE


def _rate(keras: Settings, torch: Settings) -> str | None:
    if isinstance(torch["learning_rate"], Mapping):
        return NO_DIFFERENCE  # A callback may be Keras' schedule.
    if isinstance(keras["learning_rate"], Mapping):
        return "learning-rate-schedule"
    defaults = {
        ("sgd", 1e-3): "sgd-default-learning-rate",
        ("rmsprop", 1e-2): "optimizer-defaults",
        ("adagrad", 1e-2): "optimizer-defaults",
    }
    return defaults.get((_based_on(torch) or "", torch["learning_rate"]))


def _epsilon(keras: Settings, torch: Settings) -> str | None:
    if not _stock(torch):
        return NO_DIFFERENCE
    kinds = {_based_on(keras), _based_on(torch)}
    if kinds <= {"adam", "adamw"}:
        return "adam-epsilon"
    return "rmsprop-epsilon" if kinds == {"rmsprop"} else None


def _weight_decay(keras: Settings, torch: Settings) -> str | None:
    decays = keras["weight_decay"], torch["weight_decay"]
    if not _stock(torch):
        return NO_DIFFERENCE
    if not all(decays):
        return None  # It may be done by hand, or by regularizers.
    if _based_on(torch) == "adamw":
        return "optimizer-defaults" if decays == (0.004, 0.01) else None
    return "weight-decay"


OF_OPTIMIZERS: Mapping[str, Rule] = {
    "kind": _kind,
    "learning_rate": _rate,
    "epsilon": _epsilon,
    "rho": _epsilon,
    "weight_decay": _weight_decay,
}
"""Setting → the convention that explains a difference."""
