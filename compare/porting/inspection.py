"""What two models are set to: differences that can be told before anything is computed.

The settings are those that `describe` and a trace carry along, in Keras' conventions. A finding is
no verdict: a setting may differ and something else make up for it. The ladder decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compare.conventions import CONVENTIONS
from compare.porting.inspection_rules import (
    EXACT,
    GEOMETRY,
    NO_DIFFERENCE,
    OF_LAYERS,
    OF_LOSSES,
    OF_OPTIMIZERS,
    SINGLE,
    Settings,
)
from compare.porting.matching import Partners
from compare.traces import Trace


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


def inspect_layers(
    found: Iterable[Partners], sizes: Mapping[str, Sequence[int]] | None = None
) -> list[Finding]:
    """What the settings of partners tell, in the order in which layers run.

    Args:
        found: Partners, each layer with its `settings`.
        sizes: Keras layer → the size of the images that it receives, as in `image_sizes`. Where it
            is not known, a padding that is right for some sizes is no finding.
    """
    return [finding for pair in found for finding in _layer(pair, sizes or {})]


def image_sizes(keras: Trace) -> dict[str, tuple[int, ...]]:
    """Layer → the shape of its input without samples and channels.

    Args:
        keras: Keras' trace.
    """
    names = (layer["name"] for layer in keras.layers)
    keys = {name: f"training/{name}/input" for name in names}
    return {name: keras[key].shape[1:-1] for name, key in keys.items() if key in keras}


def _layer(pair: Partners, sizes: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    keras, torch = pair.keras.get("settings", {}), pair.torch.get("settings", {})
    name = pair.keras["name"]
    geometry = {
        "kernel_size": pair.keras["tensors"].get("kernel", ())[:-2],
        "image_size": sizes.get(name),
    }
    if torch.get("padding_idx") is not None and not keras.get("mask_zero"):
        yield Finding(name, "padding_idx", None, torch["padding_idx"], "padding-idx")
    ranks = {len(side["tensors"].get("kernel", ())) for side in (pair.keras, pair.torch)}
    for setting in keras:
        if setting not in torch or _equal(keras[setting], torch[setting]):
            continue
        if setting in GEOMETRY and len(ranks) > 1:
            continue  # One works on images, the other on series: the structure tells.
        explain = OF_LAYERS.get((pair.keras["kind"], setting), OF_LAYERS.get(("", setting)))
        convention = explain({**keras, **geometry}, torch) if explain else None
        if convention != NO_DIFFERENCE:
            yield Finding(name, setting, keras[setting], torch[setting], convention)


def inspect_training(keras: Settings, torch: Settings) -> list[Finding]:
    """What the two sides' losses and optimizers tell.

    Args:
        keras: `optimizer` and `loss`, each a mapping of settings, None or left out where unknown.
        torch: The same of the other side.
    """
    found = []
    for part, rules in (("loss", OF_LOSSES), ("optimizer", OF_OPTIMIZERS)):
        ours, theirs = keras.get(part) or {}, torch.get(part) or {}
        for setting in ours:
            if setting in theirs and not _equal(ours[setting], theirs[setting]):
                explain = rules.get(setting)
                convention = explain(ours, theirs) if explain else None
                if convention != NO_DIFFERENCE:
                    values = ours[setting], theirs[setting]
                    found.append(Finding(part, setting, *values, convention))
    return found


def _equal(one: Any, other: Any) -> bool:
    numbers = (int, float)
    if isinstance(one, numbers) and isinstance(other, numbers):
        return math.isclose(one, other, rel_tol=SINGLE, abs_tol=EXACT)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return True  # Two schedules: their names differ between the frameworks.
    return bool(one == other)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
