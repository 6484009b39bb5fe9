"""Which choices of its optimizer account for what a step of Torch's differs by from Keras' rule.

Torch's step is predicted from Torch's own gradient, slots and weights, by Keras' rule: so what
was different before the step does not count. Of the choices in which the rules of both sides
differ, the smallest set is sought that predicts all of the step, to the ladder's tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import Any

import numpy as np

from compare.backends.optimizer_rule import Rule, read_rule
from compare.parity import tolerances
from compare.parity.explain.choices import BY_HAND, Difference, Rules, differences
from compare.parity.optimizers import Array, Gradient, Slots, moved_one_by_one
from compare.parity.tolerances import Gap, gap, unequal
from compare.trace import Trace, split

Allowed = Callable[[str], float]
"""Name of an array → the ladder's tolerance for it, relative to its scale."""

_LARGEST_SET = 5
"""Choices that are tried together: more at once were never met in a port."""

_NEGLIGIBLE = 5e-3
"""A part of the difference that is not told."""


@dataclass(frozen=True)
class Attribution:
    """What accounts for the difference that one step makes.

    Attributes:
        complete: Whether `differences`, applied to Keras' rule, predict every tensor of Torch's
            step. Without any the rule is the same: what differs came into the step, by gradients
            that differ by rounding, or by slots.
        differences: Those, the one with the largest share first. If nothing is complete: all that
            account for a part, each by itself.
        gaps: Name of an array of the step → the gap between the prediction and Torch; empty if
            nothing is complete.
        reason: Why nothing is complete; empty otherwise.
        inherited: Whether slots differed before the step, as an earlier difference left them.
        unruly: Whether Keras itself moved a weight otherwise than its optimizer's settings say.
    """

    complete: bool
    differences: tuple[Difference, ...] = ()
    gaps: Mapping[str, Gap] = field(default_factory=dict)
    reason: str = ""
    inherited: bool = False
    unruly: bool = False

    @property
    def causes(self) -> tuple[str, ...]:
        """The conventions that account for the whole; empty if nothing does."""
        names = (d.convention for d in self.differences if self.complete and d.convention)
        return tuple(dict.fromkeys(names))

    @property
    def settings(self) -> tuple[str, ...]:
        """Differences without a name in the catalogue, in words, that account for the whole."""
        return tuple(d.setting for d in self.differences if self.complete and not d.convention)

    @property
    def values(self) -> dict[str, str]:
        """Cause → what both sides have, in words; nothing of what is only rounded."""
        causes, values = self.causes, dict[str, list[str]]()
        for difference in self.differences:
            if difference.convention in causes and not difference.choice.startswith("rounded-"):
                values.setdefault(difference.convention, []).append(difference.setting)
        return {convention: "; ".join(settings) for convention, settings in values.items()}

    @property
    def parts(self) -> dict[str, float]:
        """Convention, or setting in words → the share of the difference it accounts for."""
        parts: dict[str, float] = {}
        for difference in self.differences:
            parts[difference.name] = parts.get(difference.name, 0.0) + difference.share
        return parts

    @property
    def irremediable(self) -> bool:
        """Whether it is complete by what no setting of Torch's own optimizers could remedy."""
        return self.complete and all(d.irremediable for d in self.differences)


def attribute(
    keras: Trace,
    torch: Trace,
    step: int,
    allowed: Allowed | None = None,
    *,
    same_start: bool = True,
) -> Attribution:
    """Attribute the difference of one step to choices of the optimizer.

    It speaks of this step alone: slots that Torch begins it with are right if the step before was
    complete, too.

    Args:
        keras: Keras' trace.
        torch: Torch's trace, with Keras' layer names and layouts.
        step: Number of the step, from 1.
        allowed: The ladder's tolerances, of gradients, weights and slots; None for those of rungs 6
            and 7 by dtype.
        same_start: Whether Torch's later steps started from the weights that Keras' left.
    """
    keras_side = _Side(keras, step, keras, keras)
    torch_side = _Side(torch, step, keras, keras if same_start else torch)
    if unknown := sorted(keras_side.weights - keras_side.rules.keys()):
        return Attribution(False, reason=f"how Keras moves {', '.join(unknown)} is not known")
    if allowed is None:
        allowed = _by_rung(tolerances.for_dtype(str(keras_side.dtype)))
    if missing := [name for name in keras_side.rules if not torch_side.knows(name)]:
        return Attribution(False, reason=f"Torch's trace has no step of {', '.join(missing)}")
    # What is predicted from Torch's gradient says nothing of a gradient that is wrong.
    if same_start and (odd := next(_unequal_gradients(keras_side, torch_side, allowed), None)):
        return Attribution(False, reason=f"the gradients of {odd} differ")
    if odd := next(keras_side.failing(keras_side.rules, allowed), None):
        reason = f"Keras moved {odd} otherwise than its optimizer's settings say"
        return Attribution(False, reason=reason, unruly=True)
    candidates = differences(keras_side.rules, torch_side.rules)
    inherited = _inherited(keras_side, torch_side, allowed)
    for chosen in _sets(candidates):
        rules = _applied(chosen, keras_side.rules)
        if next(torch_side.failing(rules, allowed), None) is None:
            shared = (
                _shared(chosen, keras_side.rules, torch_side) if len(chosen) > 1 else _whole(chosen)
            )
            return Attribution(True, shared, torch_side.gaps(rules), inherited=inherited)
    single = [d for alternatives in candidates for d in alternatives]
    parts = [d for d in _shared(single, keras_side.rules, torch_side) if d.share > _NEGLIGIBLE]
    reason = "no choice of the optimizer that differs accounts for the whole step"
    return Attribution(False, tuple(parts), reason=reason, inherited=inherited)


def _by_rung(bounds: Mapping[int, float]) -> Allowed:
    def allowed(path: str) -> float:
        return bounds[6 if split(path)[0].endswith("gradient") else 7]

    return allowed


def _unequal_gradients(keras_side: _Side, torch_side: _Side, allowed: Allowed) -> Iterator[str]:
    for name in keras_side.rules:
        gradients = keras_side.gradient(name), torch_side.gradient(name)
        if gradients[0] is None or gradients[1] is None:
            continue
        if not gap(gradients[0], gradients[1]).within(allowed(_gradient(keras_side.step, name))):
            yield name


def _sets(candidates: Sequence[Sequence[Difference]]) -> Iterator[tuple[Difference, ...]]:
    """Every set of differences, the small ones first; one alternative of a choice at a time."""
    for size in range(min(len(candidates), _LARGEST_SET) + 1):
        for chosen in combinations(candidates, size):
            yield from product(*chosen)


def _applied(chosen: Iterable[Difference], rules: Rules) -> Rules:
    for difference in chosen:
        rules = difference.rules(rules)
    return rules


def _whole(chosen: Sequence[Difference]) -> tuple[Difference, ...]:
    return tuple(replace(difference, share=1.0) for difference in chosen)


def _shared(
    chosen: Sequence[Difference], rules: Rules, torch_side: _Side
) -> tuple[Difference, ...]:
    """Differences with their shares, the largest first.

    A share is how much of Torch's deviation from Keras' rule lies along what the difference does
    by itself, over all weights.
    """
    effects = [torch_side.predicted(difference.rules(rules)) for difference in chosen]
    along, size = np.zeros(len(chosen)), 0.0
    for (name, base, _), *others in zip(torch_side.predicted(rules), *effects, strict=True):
        apart = torch_side.after(name).astype(np.float64) - base
        size += float(np.vdot(apart, apart))
        along += [float(np.vdot(apart, other - base)) for _, other, _ in others]
    shares = along / size if size else np.full(len(chosen), 1.0 / max(len(chosen), 1))
    by_share = [
        replace(difference, share=float(np.clip(np.nan_to_num(share), 0.0, 1.0)))
        for difference, share in zip(chosen, shares, strict=True)
    ]
    return tuple(sorted(by_share, key=lambda difference: -difference.share))


def _inherited(keras_side: _Side, torch_side: _Side, allowed: Allowed) -> bool:
    for name in keras_side.rules:
        before, after = keras_side.slots(name), torch_side.slots(name)
        for slot in before.keys() & after.keys():
            path = f"step/{keras_side.step}/slots/{name}/{slot}"
            if not gap(before[slot], after[slot]).within(allowed(path)):
                return True
    return False


class _Side:
    """One step of one side: what went into it, and what came out.

    Args:
        trace: The side's trace.
        step: Number of the step, from 1.
        keras: Keras' trace: it alone knows the rows that a gradient came as.
        start: The trace whose weights later steps start from.

    Attributes:
        step: The same.
        rules: Canonical name of a weight → its rule, the smallest weight first.
        weights: Canonical names of those that are recorded.
    """

    def __init__(self, trace: Trace, step: int, keras: Trace, start: Trace) -> None:
        self.step, self._trace, self._keras, self._start = step, trace, keras, start
        self._after, self._slots_after = (
            _under(trace, f"step/{step}/{group}") for group in ("weights", "slots")
        )
        self._slots_before = _under(trace, f"step/{step - 1}/slots")
        self.weights = self._after.keys()
        self._recorded = {n: _rules(trace, n) for n in range(1, trace.steps + 1)}
        rules = self._recorded.get(step, {})
        sizes = {name: trace[self._after[name]].size for name in rules.keys() & self.weights}
        self.rules: Rules = {
            name: self._known(name, rules[name])
            for name in sorted(sizes, key=lambda name: (sizes[name], name))
        }

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the weights."""
        return self._trace[next(iter(self._after.values()))].dtype

    def _known(self, name: str, rule: Rule) -> Rule:
        """A rule as it is computed with in the trace's dtype, with the rate before it."""
        earlier = self._recorded.get(self.step - 1, {}).get(name)
        rates = {rules[name].rate for rules in self._recorded.values() if name in rules}
        if len(rates) > 1 and not rule.schedule:
            rule = replace(rule, schedule=BY_HAND)
        rule = replace(rule, rates=tuple(sorted(rates)))
        single = self.dtype == np.float32
        # In float32 all of them are rounded, and none by itself.
        names = _NUMBERS if single else [name for name in rule.rounded if hasattr(rule, name)]
        values: dict[str, Any] = {n: float(np.float32(getattr(rule, n))) for n in names}
        rule = replace(rule, **values, rounded=() if single else rule.rounded)
        if earlier is not None and rule.velocity == "outside" and earlier.rate != rule.rate:
            return replace(rule, previous_rate=earlier.rate)
        # As long as the rate stays, it makes no difference where it is.
        return replace(rule, velocity="inside")

    def after(self, name: str) -> Array:
        """A weight after the step."""
        return np.asarray(self._trace[self._after[name]])

    def before(self, name: str) -> Array:
        """A weight before the step."""
        if self.step == 1:
            return np.asarray(self._trace[f"initial/{name}"])
        return np.asarray(self._start[f"step/{self.step - 1}/weights/{name}"])

    def knows(self, name: str) -> bool:
        """Whether the step of a weight is recorded: what moved it, or that nothing did."""
        rule = self.rules.get(name)
        still = rule is not None and rule.kind == "none"
        return name in self.weights and (still or _gradient(self.step, name) in self._trace)

    def slots(self, name: str) -> dict[str, Array]:
        """The slots of a weight before the step; empty before its first update."""
        rule = self.rules.get(name)
        fresh = rule is not None and rule.update == 1
        return {} if fresh else _of(self._trace, self._slots_before, name)

    def predicted(self, rules: Rules) -> Iterator[tuple[str, Array, dict[str, Array]]]:
        """Weights and slots after the step, by rules, from what went into this side's step."""
        return moved_one_by_one(
            rules,
            lambda name: self._gradient(name, rules[name]),
            lambda name: {**self.slots(name), **self._waiting(name, rules[name])},
            self.before,
        )

    def failing(self, rules: Rules, allowed: Allowed) -> Iterator[str]:
        """The weights whose step some rules do not predict; it stops where nobody reads on."""
        for name, weight, slots in self.predicted(rules):
            gaps = self._gaps(name, rules[name], weight, slots)
            if not all(gap.within(allowed(path)) for path, gap in gaps):
                yield name

    def gaps(self, rules: Rules) -> dict[str, Gap]:
        """Name of an array of the step → the gap between the prediction by rules and this side."""
        return {
            path: gap
            for name, weight, slots in self.predicted(rules)
            for path, gap in self._gaps(name, rules[name], weight, slots)
        }

    def _gaps(
        self, name: str, rule: Rule, weight: Array, slots: Slots
    ) -> Iterator[tuple[str, Gap]]:
        yield self._after[name], gap(weight, self.after(name))
        if rule.kind == "none" or rule.position < rule.accumulate:
            return
        recorded = _of(self._trace, self._slots_after, name)
        expected = slots.keys() - {"accumulated_gradient"}
        # What an optimizer of an unknown class keeps, nobody knows.
        for slot in expected | recorded.keys() if name in self.rules else recorded.keys():
            path = f"step/{self.step}/slots/{name}/{slot}"
            if slot in slots and slot in recorded:
                yield path, gap(slots[slot], recorded[slot])
            else:
                yield path, unequal(f"{slot} is kept on one side alone")

    def gradient(self, name: str) -> Array | None:
        """What reached the optimizer; None where nothing did."""
        key = _gradient(self.step, name)
        return np.asarray(self._trace[key]) if key in self._trace else None

    def _gradient(self, name: str, rule: Rule) -> Gradient:
        rows = f"step/{self.step}/occurrences/{name}"
        if (dense := self.gradient(name)) is None:
            return Gradient(np.zeros_like(self.before(name)))
        if not rule.sparse or f"{rows}/rows" not in self._keras:
            return Gradient(dense)
        parts = (np.asarray(self._keras[f"{rows}/{part}"]) for part in ("rows", "values"))
        return Gradient(dense, *parts)

    def _waiting(self, name: str, rule: Rule) -> dict[str, Array]:
        """The gradients that have been added up before this step."""
        steps = range(max(self.step - rule.position + 1, 1), self.step)
        gradients = [np.asarray(self._trace[_gradient(step, name)]) for step in steps]
        return {"accumulated_gradient": np.sum(gradients, axis=0)} if gradients else {}


_NUMBERS = ("rate", "momentum", "decay", "epsilon", "accumulator")
"""Settings that meet a weight or its slots as they are: in float32 they count in float32."""


def _gradient(step: int, name: str) -> str:
    return f"step/{step}/gradient/{name}" if step > 1 else f"gradient/{name}"


def _rules(trace: Trace, step: int) -> dict[str, Rule]:
    texts = _under(trace, f"step/{step}/rule")
    return {name: read_rule(trace[key]) for name, key in texts.items()}


def _under(trace: Trace, group: str) -> dict[str, str]:
    """Rest of a name → name, of all arrays of a group."""
    return {k.removeprefix(f"{group}/"): k for k in trace if k.startswith(f"{group}/")}


def _of(trace: Trace, keys: Mapping[str, str], name: str) -> dict[str, Array]:
    """Slot → array, of one weight."""
    start = f"{name}/"
    inner = {k.removeprefix(start): key for k, key in keys.items() if k.startswith(start)}
    return {slot: np.asarray(trace[key]) for slot, key in inner.items() if "/" not in slot}
