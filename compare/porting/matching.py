"""Which Torch layer is the partner of which Keras layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from compare.errors import unknown
from compare.trace import Layer


@dataclass(frozen=True)
class Partners:
    """Two layers that should be the same.

    Attributes:
        keras: Keras' layer.
        torch: Torch's.
        how: What told: `"pairs"`, `"name"`, `"order"`, or `"order alone"` where layers of the same
            kind and shapes could be exchanged.
    """

    keras: Layer
    torch: Layer
    how: str


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
    found = _given(keras, torch, pairs or {})
    _by_name(keras, torch, found)
    for same in (_shapes, lambda layer: None):
        for layer in keras:
            if layer["name"] in found:
                continue
            free = _free(torch, found)
            fits = [x for x in free if _alike(x, layer) and same(x) == same(layer)]
            if fits:
                found[layer["name"]] = Partners(layer, fits[0], "order")
    order = [layer["name"] for layer in keras]
    return [_told(found[name], found.values()) for name in order if name in found]


def partners(found: Iterable[Partners]) -> dict[str, str]:
    """Torch name → Keras name."""
    return {pair.torch["name"]: pair.keras["name"] for pair in found}


def _given(
    keras: Sequence[Layer], torch: Sequence[Layer], pairs: Mapping[str, str]
) -> dict[str, Partners]:
    ours = {layer["name"]: layer for layer in keras}
    theirs = {layer["name"]: layer for layer in torch}
    found: dict[str, Partners] = {}
    for name, dotted in pairs.items():
        other = dotted.replace(".", "/")
        if name not in ours:
            raise unknown("Keras layer", name, ours)
        free = [path for path in theirs if path not in {x.torch["name"] for x in found.values()}]
        if other not in free:
            raise unknown("Torch layer", dotted, free)
        found[name] = Partners(ours[name], theirs[other], "pairs")
    return found


def _by_name(keras: Sequence[Layer], torch: Sequence[Layer], found: dict[str, Partners]) -> None:
    for layer in keras:
        free = {x["name"]: x for x in _free(torch, found)}
        partner = free.get(layer["name"])
        if layer["name"] not in found and partner is not None and _alike(partner, layer):
            found[layer["name"]] = Partners(layer, partner, "name")


def _free(torch: Sequence[Layer], found: Mapping[str, Partners]) -> list[Layer]:
    taken = {pair.torch["name"] for pair in found.values()}
    return [layer for layer in torch if layer["name"] not in taken]


def _alike(one: Layer, other: Layer) -> bool:
    return bool(one["kind"] == other["kind"])


def _shapes(layer: Layer) -> object:
    return layer["tensors"]


def _told(pair: Partners, every: Iterable[Partners]) -> Partners:
    """Whether order alone told this pair from another of the same kind and shapes."""
    if pair.how != "order":
        return pair
    alike = [
        other
        for other in every
        if other.how == "order"
        and _alike(other.keras, pair.keras)
        and _shapes(other.keras) == _shapes(pair.keras)
    ]
    return pair if len(alike) == 1 else Partners(pair.keras, pair.torch, "order alone")
