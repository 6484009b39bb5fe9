"""What runs between two layers with weights: stretches of layers without any, and functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from compare.trace import Operation

Ends = tuple[str, str]
"""The layers with weights before and behind a stretch; empty at the input and at the loss."""


def stretches(
    operations: Sequence[Operation], names: Mapping[str, str] = MappingProxyType({})
) -> dict[Ends, list[Operation]]:
    """Every stretch between two layers with weights, in the order in which they run.

    Args:
        operations: All that runs, in order, weighted or not.
        names: Name of a layer with weights → what it is called instead.
    """
    found: dict[Ends, list[Operation]] = {}
    before, between = "", []
    for operation in [*operations, {"name": "", "kind": ""}]:
        if operation["kind"]:
            between.append(operation)
        else:
            name = names.get(operation["name"], operation["name"])
            found[before, name] = between
            before, between = name, []
    return found


def ends(place: str) -> Ends | None:
    """The ends of `between A and B`; None of another place."""
    if not place.startswith("between "):
        return None
    before, _, behind = place.removeprefix("between ").partition(" and ")
    return ("" if before == "the input" else before, "" if behind == "the loss" else behind)


def between(operations: Sequence[Operation], place: str) -> Sequence[Operation]:
    """What runs at `between A and B`, in order; nothing at another place."""
    at = ends(place)
    return [] if at is None else stretches(operations).get(at, [])


def behind_the_last(operations: Sequence[Operation]) -> Sequence[Operation]:
    """What runs behind the last layer with weights, in order."""
    return list(stretches(operations).values())[-1]
