"""Which Torch layer is the partner of which Keras layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compare.errors import unknown
from compare.traces import Layer


def partners(
    keras: Sequence[Layer], torch: Sequence[Layer], pairs: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Torch name → Keras name, as far as partners are found.

    First the pairs given, then layers of the same name and kind, then the rest by kind, in the
    order in which they ran. What stays alone is left out, for the structure rung to report.

    Args:
        keras: Keras' weighted layers, in the order in which they ran.
        torch: Torch's.
        pairs: Keras name → Torch name, with dots or slashes.

    Raises:
        InputError: A name in `pairs` is not a weighted layer.
    """
    kinds = {layer["name"]: layer["kind"] for layer in torch}
    found: dict[str, str] = {}
    for ours, dotted in (pairs or {}).items():
        theirs = dotted.replace(".", "/")
        if ours not in {layer["name"] for layer in keras}:
            raise unknown("Keras layer", ours, [layer["name"] for layer in keras])
        if theirs not in kinds:
            raise unknown("Torch layer", dotted, list(kinds))
        found[theirs] = ours
    for layer in keras:
        name = layer["name"]
        if name not in found.values() and name not in found and kinds.get(name) == layer["kind"]:
            found[name] = name
    for layer in keras:
        if layer["name"] in found.values():
            continue
        free = (n for n, kind in kinds.items() if n not in found and kind == layer["kind"])
        partner = next(free, None)
        if partner is not None:
            found[partner] = layer["name"]
    return found
