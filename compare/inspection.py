"""What two models are set to: differences that can be told before anything is computed.

The settings are those that `describe` and a trace carry along, in Keras' conventions. A finding is
no verdict: a setting may differ and something else make up for it. The ladder decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compare.conventions import CONVENTIONS
from compare.matching import Partners

Settings = Mapping[str, Any]

_EXACT = 1e-12
"""Two settings are one where they differ by no more: 1.0 - 0.99 is not 0.01 to the bit."""


@dataclass(frozen=True)
class Finding:
    """A setting in which the two sides differ.

    Attributes:
        layer: Keras' name of the layer; `"optimizer"` or `"loss"`.
        setting: What differs.
        keras: Its value in Keras.
        torch: Its value in Torch, in Keras' conventions.
        convention: The convention that explains it; None where it is no matter of convention.
    """

    layer: str
    setting: str
    keras: Any
    torch: Any
    convention: str | None = None

    def __str__(self) -> str:
        name = f"{self.convention} at " if self.convention else ""
        return f"{name}{self.layer}: {self.values()}"

    def is_of(self, layer: str) -> bool:
        """Whether it is about a layer, or about a part of it."""
        return f"{self.layer}/".startswith(f"{layer}/")

    def values(self) -> str:
        """What is set on either side, and the remedy where there is one."""
        remedy = f" In Torch: {CONVENTIONS[self.convention].to_torch}." if self.convention else ""
        return (
            f"{self.setting} is {_shown(self.keras)} in Keras, {_shown(self.torch)} in "
            f"Torch.{remedy}"
        )

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


def inspect_layers(found: Iterable[Partners]) -> list[Finding]:
    """What the settings of partners tell, in the order in which layers run.

    Args:
        found: Partners, each layer with its `settings`.
    """
    return [finding for pair in found for finding in _layer(pair)]


def _layer(pair: Partners) -> Iterator[Finding]:
    keras, torch = pair.keras.get("settings", {}), pair.torch.get("settings", {})
    kernel_size = pair.keras["tensors"].get("kernel", ())[:-2]
    name = pair.keras["name"]
    for setting in keras:
        if setting not in torch or _equal(keras[setting], torch[setting]):
            continue
        explain = _EXPLAINED.get((pair.keras["kind"], setting), _EXPLAINED.get(("", setting)))
        convention = explain({**keras, "kernel_size": kernel_size}, torch) if explain else None
        if convention != _NO_DIFFERENCE:
            yield Finding(name, setting, keras[setting], torch[setting], convention)


_NO_DIFFERENCE = ""

Explain = Callable[[Settings, Settings], str | None]


def _decay(keras: Settings, torch: Settings) -> str | None:
    """Torch's default, or Keras' number copied without turning it round."""
    if torch["decay"] is None or keras["decay"] is None:
        return None
    copied = abs(torch["decay"] - (1.0 - keras["decay"])) <= _EXACT
    return "bn-momentum-copied" if copied else "bn-momentum"


def _padding(keras: Settings, torch: Settings) -> str | None:
    """`same` pads as much on both sides where the stride is one and the kernel is odd."""
    ours, theirs = keras["padding"], torch["padding"]
    if isinstance(theirs, str) and theirs == "valid":
        return _NO_DIFFERENCE  # What is padded may be padded before the layer.
    strided = any(stride > 1 for stride in keras.get("strides", ()))
    if ours == "same" and strided:
        return "same-padding-stride"
    if ours == "same" and not isinstance(theirs, str):
        return _NO_DIFFERENCE if _centred(keras, theirs) else None
    return _NO_DIFFERENCE if ours == "causal" else None


def _centred(keras: Settings, padding: Sequence[int]) -> bool:
    """Whether padding on both sides is what `same` means, as far as the settings tell."""
    size, dilation = keras["kernel_size"], keras.get("dilation", [1] * len(padding))
    return all(2 * p == d * (k - 1) for p, d, k in zip(padding, dilation, size, strict=True))


def _biases(keras: Settings, torch: Settings) -> str | None:
    twice = (keras["trained_biases"], torch["trained_biases"]) == (1, 2)
    return "lstm-single-bias" if twice else None


_EXPLAINED: Mapping[tuple[str, str], Explain] = {
    ("batch_norm", "epsilon"): lambda keras, torch: "bn-epsilon",
    ("batch_norm", "decay"): _decay,
    ("batch_norm", "biased"): lambda keras, torch: "bn-biased-variance",
    ("batch_norm", "frozen"): lambda keras, torch: "bn-frozen",
    ("conv", "padding"): _padding,
    ("depthwise_conv", "padding"): _padding,
    # What a transposed convolution cuts off may be cut off behind it.
    ("conv_transpose", "padding"): lambda keras, torch: _NO_DIFFERENCE,
    ("", "trained_biases"): _biases,
}
"""(Kind of layer, or empty for any; setting) → the convention that explains a difference."""


def inspect_training(keras: Settings, torch: Settings) -> list[Finding]:
    """What the two sides' losses and optimizers tell.

    Args:
        keras: `optimizer` and `loss`, each a mapping of settings, None or left out where unknown.
        torch: The same of the other side.
    """
    found = []
    for part, explained in (("loss", _LOSS), ("optimizer", _OPTIMIZER)):
        ours, theirs = keras.get(part) or {}, torch.get(part) or {}
        for setting in ours:
            if setting in theirs and not _equal(ours[setting], theirs[setting]):
                explain = explained.get(setting)
                convention = explain(ours, theirs) if explain else None
                if convention != _NO_DIFFERENCE:
                    values = ours[setting], theirs[setting]
                    found.append(Finding(part, setting, *values, convention))
    return found


def _default_rate(keras: Settings, torch: Settings) -> str | None:
    default = torch.get("kind") == "sgd" and torch["learning_rate"] == 1e-3
    return "sgd-default-learning-rate" if default else None


def _epsilon(keras: Settings, torch: Settings) -> str | None:
    kinds = {keras.get("kind"), torch.get("kind")}
    if kinds <= {"adam", "adamw"}:
        return "adam-epsilon"
    return "rmsprop-epsilon" if kinds == {"rmsprop"} else None


def _decoupled(keras: Settings, torch: Settings) -> str | None:
    return "weight-decay"


def _reduction(keras: Settings, torch: Settings) -> str | None:
    means = {"mean", "sum_over_batch_size"}
    if {keras["reduction"], torch["reduction"]} <= means:
        return _NO_DIFFERENCE
    return "loss-reduction"


def _same_loss(keras: Settings, torch: Settings) -> str | None:
    return _NO_DIFFERENCE  # Names differ between the frameworks, and say nothing.


_LOSS: Mapping[str, Explain] = {
    "name": _same_loss,
    # Keras undoes a sigmoid that it can see: probabilities there and logits here are one loss.
    "from_logits": _same_loss,
    "reduction": _reduction,
}


def _kind(keras: Settings, torch: Settings) -> str | None:
    """A subclass is called after what it is based on, as a rule."""
    ours, theirs = str(keras["kind"]), str(torch["kind"])
    return _NO_DIFFERENCE if ours.endswith(theirs) or theirs.endswith(ours) else None


_OPTIMIZER: Mapping[str, Explain] = {
    "kind": _kind,
    "learning_rate": _default_rate,
    "epsilon": _epsilon,
    "weight_decay": _decoupled,
}


def _equal(one: Any, other: Any) -> bool:
    numbers = (int, float)
    if isinstance(one, numbers) and isinstance(other, numbers):
        return abs(one - other) <= _EXACT
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return True  # Two schedules: their names differ between the frameworks.
    return bool(one == other)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
