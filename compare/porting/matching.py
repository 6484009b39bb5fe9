"""Which Torch layer is the partner of which Keras layer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from compare.errors import unknown
from compare.trace import Layer


@dataclass(frozen=True)
class Partners:
    """Two layers that should be the same.

    Attributes:
        keras: Keras' layer.
        torch: Torch's.
        how: What they were matched by: `"pairs"`, `"name"`, `"order"`, or `"order alone"` where
            layers of the same kind and shapes could be exchanged.
    """

    keras: Layer
    torch: Layer
    how: str

    def layer(self, side: str) -> Layer:
        """The layer of a side: `"keras"` or `"torch"`."""
        return self.keras if side == "keras" else self.torch

    def other(self, side: str) -> Layer:
        """The layer of the other side."""
        return self.torch if side == "keras" else self.keras

    def exchangeable(self, other: Partners) -> bool:
        """Whether order alone tells these partners from others."""
        return self.how == other.how == "order" and _fits(self.keras, other.keras)


def match(
    keras: Sequence[Layer], torch: Sequence[Layer], pairs: Mapping[str, str] | None = None
) -> list[Partners]:
    """Find partners: those given, then those of the same name, then by kind, shapes and order.

    Layers are taken in the order in which they ran. Where no free layer of the same kind has the
    same shapes, the first free one of the kind is the partner, for the structure to be compared.

    Args:
        keras: Keras' weighted layers, in the order in which they ran.
        torch: Torch's.
        pairs: Keras name → Torch name, with dots or slashes.

    Returns:
        One per Keras layer with a partner, in Keras' order.

    Raises:
        InputError: A name in `pairs` is not a weighted layer, or one Torch layer is named twice.
    """
    matched: dict[str, Partners] = {}
    free = {layer["name"]: layer for layer in torch}

    def pair(layer: Layer, name: str, how: str) -> None:
        matched[layer["name"]] = Partners(layer, free.pop(name), how)

    by_name = {layer["name"]: layer for layer in keras}
    for name, dotted in (pairs or {}).items():
        path = dotted.replace(".", "/")
        if name not in by_name:
            raise unknown("Keras layer", name, by_name)
        if path not in free:
            raise unknown("Torch layer", dotted, free)
        pair(by_name[name], path, "pairs")
    for name, layer in by_name.items():
        if name not in matched and name in free and free[name]["kind"] == layer["kind"]:
            pair(layer, name, "name")
    for fits in (_fits, _same_kind):
        for name, layer in by_name.items():
            fitting = next((path for path, other in free.items() if fits(layer, other)), None)
            if name not in matched and fitting is not None:
                pair(layer, fitting, "order")
    ordered = [matched[name] for name in by_name if name in matched]
    return [
        replace(partners, how="order alone")
        if sum(map(partners.exchangeable, ordered)) > 1  # With itself it always is.
        else partners
        for partners in ordered
    ]


def _same_kind(layer: Layer, other: Layer) -> bool:
    return bool(layer["kind"] == other["kind"])


def _fits(layer: Layer, other: Layer) -> bool:
    return _same_kind(layer, other) and bool(layer["tensors"] == other["tensors"])


def partners(pairs: Iterable[Partners]) -> dict[str, str]:
    """Torch name → Keras name."""
    return {pair.torch["name"]: pair.keras["name"] for pair in pairs}


def unpaired(
    keras: Iterable[Layer], torch: Iterable[Layer], pairs: Collection[Partners]
) -> Iterator[tuple[str, str, Layer]]:
    """The side, the other side and the layer, for every layer without a partner."""
    sides = {"Keras": (keras, "Torch"), "Torch": (torch, "Keras")}
    for side, (layers, other) in sides.items():
        paired = {pair.layer(side.lower())["name"] for pair in pairs}
        for layer in layers:
            if layer["name"] not in paired:
                yield side, other, layer
