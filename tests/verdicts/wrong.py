"""Wrong ports: the pairs of `tests/pairs` with every fault that applies, one or two at a time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache, partial
from types import ModuleType

import pairs
from pairs.causes import CAUSES

from verdicts.layer_changes import Change, layer_changes
from verdicts.port import Fault, Original, Port, fault
from verdicts.training_changes import (
    ALONE,
    change_module,
    changed_objective,
    optimizers,
    training_changes,
)

TWO_AT_ONCE = 10
"""Ports per pair with two faults."""


@cache
def original(name: str) -> Original:
    """The Keras side of a pair."""
    pair = pairs.discover()[name]
    named = {"pairs": getattr(pair, "PAIRS", None), "to_torch": getattr(pair, "to_torch", None)}
    return Original(name, pair.build_keras, pair.inputs, {k: v for k, v in named.items() if v})


def wrong_ports() -> Iterator[Port]:
    """Every wrong port."""
    for name, pair in pairs.discover().items():
        yield from _bugs(name, pair)
        changes = _changes(name, pair)
        for change in changes:
            yield _port(name, pair, [change])
        for two in _two_at_once(name, changes):
            yield _port(name, pair, two)


def _bugs(name: str, pair: ModuleType) -> Iterator[Port]:
    """The pair's own."""
    for bug in pair.BUGS:
        yield Port(
            bug.name,
            original(name),
            bug.build or pair.build_torch,
            fault(bug.blame, cause=CAUSES.get((name, bug.name))),
            objective={**getattr(pair, "OBJECTIVE", {}), **bug.objective},
            right=pair.build_torch,
            spoil=bug.spoil,
        )


def _changes(name: str, pair: ModuleType) -> list[Change]:
    module = pair.build_torch()
    objective = getattr(pair, "OBJECTIVE", None)
    configured = (
        objective["torch_optimizer"](module.parameters())
        if objective
        else module.configure_optimizers()
    )
    (optimizer,) = optimizers(configured)
    return [*layer_changes(name, module), *training_changes(name, module, optimizer)]


def _port(name: str, pair: ModuleType, changes: Sequence[Change]) -> Port:
    return Port(
        " + ".join(change.name for change in changes),
        original(name),
        pair.build_torch,
        _fault_of(changes),
        objective=changed_objective(getattr(pair, "OBJECTIVE", {}), changes),
        right=pair.build_torch,
        spoil=partial(change_module, changes=changes),
    )


def _fault_of(changes: Sequence[Change]) -> Fault:
    """Of several faults any may be blamed; a convention must be named if each of them is one."""
    faults = [change.fault for change in changes]
    causes = frozenset().union(*(f.causes for f in faults))
    cause = faults[0].cause if all(f.cause for f in faults) else None
    return Fault(frozenset().union(*(f.places for f in faults)), cause, causes)


def _two_at_once(name: str, changes: Sequence[Change]) -> Iterator[tuple[Change, Change]]:
    rng = random.Random(name)
    candidates = [change for change in changes if change.about != ALONE]
    drawn: set[tuple[str, str]] = set()
    while len(drawn) < TWO_AT_ONCE:
        one, other = rng.sample(candidates, 2)
        if one.about != other.about and (one.name, other.name) not in drawn:
            drawn.add((one.name, other.name))
            yield one, other
