"""Why two sides differ: from their numbers, else from how they are set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from compare.conventions import CONVENTIONS, Numbers
from compare.parity.accepted import StepDifferences
from compare.parity.explain.explanations import divergence
from compare.parity.findings import Finding
from compare.parity.ladder import OPTIMIZER, Divergence, Ladder
from compare.parity.stretches import between
from compare.trace import Operation, Trace

Settings = Mapping[str, Any]


def explained(
    ladder: Ladder,
    sides: tuple[Trace, Trace],
    training: tuple[Settings, Settings],
    steps: StepDifferences,
    allow: Collection[str],
    findings: Sequence[Finding],
    operations: Sequence[Operation] = (),
) -> Divergence | None:
    """What differs first, and why; None where nothing differs.

    Args:
        ladder: The ladder, climbed.
        sides: Keras' trace and Torch's, with Keras' layer names.
        training: Settings of optimizer and loss of both.
        steps: What accounts for the steps of the optimizers.
        allow: Conventions that are accepted: they are named no more.
        findings: Settings in which the two sides differ.
        operations: All that runs in Keras.
    """
    keras, torch = sides
    losses = tuple(side.get("loss") or {} for side in training)
    first = divergence(
        ladder, keras, torch, losses_set=(losses[0], losses[1]), operations=operations
    )
    if first is None:
        return None
    runs = dict.fromkeys(operation["name"] for operation in between(operations, first.layer))
    first = replace(first, runs=tuple(runs))
    failure = ladder.first_failure()
    if failure is not None and failure.path not in torch and "error" in torch:
        return replace(first, explained_by=(), numbers={})  # What it raised says why.
    step = steps.refused.get(first.step or 0) if first.rung == OPTIMIZER else None
    if step is not None:
        parts = {} if step.complete else step.parts
        first = replace(
            first,
            explained_by=step.causes,
            settings=step.settings,
            parts=parts,
            values=step.values,
        )
        names = list(step.causes)
        if step.unruly:  # What acts on Keras' weights beside the optimizer is a setting of theirs.
            names = [name for name in _by_settings(first, findings) if name not in allow]
    else:
        names = [name for name in first.explained_by if name not in allow]
        names = names or [name for name in _by_settings(first, findings) if name not in allow]
    settings = tuple(
        _settings(first.layer, trace, part) for trace, part in zip(sides, training, strict=True)
    )
    numbers = {
        name: {
            **_values(name, *settings),
            **_found(name, first, findings),
            **first.numbers.get(name, {}),
        }
        for name in names
    }
    return replace(first, explained_by=tuple(names), numbers=numbers)


def _by_settings(first: Divergence, findings: Sequence[Finding]) -> Collection[str]:
    """Conventions whose setting differs where the blame is, and shows first on this rung.

    A convention that numbers tell, and did not, is not the cause, or not all of it.
    """
    names = (f.convention for f in findings if f.convention and f.is_at(first))
    entries = dict.fromkeys(CONVENTIONS[name] for name in names)
    return [e.name for e in entries if first.rung in e.rungs and "numbers" not in e.found]


def _found(name: str, first: Divergence, findings: Sequence[Finding]) -> Numbers:
    """What inspection knows of the blamed layer."""
    fitting = (f for f in findings if f.convention == name and f.is_at(first))
    return next((finding.numbers for finding in fitting), {})


def _settings(layer: str, trace: Trace, training: Settings) -> Settings:
    """The settings of what is blamed: a layer, the loss, or what trains the layers."""
    layers = {entry["name"]: entry for entry in trace.layers}
    own: Settings = layers.get(layer, {}).get("settings", {})
    return {**(training.get("optimizer") or {}), **(training.get(layer) or {}), **own}


def _values(name: str, keras: Settings, torch: Settings) -> Numbers:
    setting = CONVENTIONS[name].setting
    values = {"keras": keras.get(setting), "torch": torch.get(setting)}
    return {side: value for side, value in values.items() if value is not None}
