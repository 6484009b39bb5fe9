"""Optimizers as formulas: one update of a weight from its gradient, its slots and its rule.

One formula per kind serves both frameworks; what they do otherwise is a choice in the rule
(`compare.backends.optimizer_rule.Rule`). Each formula names the file and the function that it
was read in, Keras 3.15 and Torch 2.13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from compare.backends.optimizer_rule import Rule

Array = NDArray[np.floating]
Slots = Mapping[str, Array]
"""Name of a slot → its value, in the shape of the weight."""


@dataclass(frozen=True)
class Gradient:
    """The gradient of one weight.

    Attributes:
        dense: In the weight's shape.
        rows: Row that each occurrence is of, (n,), where it came as rows (`tf.IndexedSlices`).
        values: The occurrences, (n, …): those of a row add up to its gradient.
    """

    dense: Array
    rows: NDArray[np.integer] | None = None
    values: Array | None = None

    def added(self, form: Callable[[Array], Array]) -> Array:
        """What a form of the gradient adds up to; of rows, every occurrence by itself."""
        if self.rows is None or self.values is None:
            return form(self.dense)
        total = np.zeros_like(self.dense)
        np.add.at(total, self.rows, form(self.values))
        return total

    def square_sum(self) -> float:
        """Sum of the squares of all values, in the gradient's dtype."""
        values = self.dense if self.values is None else self.values
        return cast("float", np.sum(np.square(values)))

    def formed(self, form: Callable[[Array], Array]) -> Gradient:
        """The gradient with every value put through a form."""
        if self.values is None:
            return Gradient(form(self.dense))
        changed = replace(self, values=form(self.values))
        return replace(changed, dense=changed.added(lambda value: value))

    def densified(self) -> Gradient:
        """The same without its occurrences."""
        return Gradient(self.dense)


def take_step(
    rule: Rule,
    gradient: Gradient,
    slots: Slots,
    weight: Array,
    *,
    norm: float | None = None,
) -> tuple[Array, dict[str, Array]]:
    """One step of one weight.

    Args:
        rule: Every choice.
        gradient: In the weight's dtype.
        slots: Before the step; what is missing starts as the optimizer starts it.
        weight: Before the step; it is not changed.
        norm: Norm of all gradients together, where the rule clips by that.

    Returns:
        The weight and the slots after the step, in the weight's dtype.
    """
    if rule.kind == "none":
        return weight, {}
    if rule.copies > 1:
        # Each copy has an equal share, and sees the whole gradient.
        shares = {name: slot / rule.copies for name, slot in slots.items()}
        alone = replace(rule, copies=1)
        moved, kept = take_step(alone, gradient, shares, weight / rule.copies, norm=norm)
        return moved * rule.copies, {name: slot * rule.copies for name, slot in kept.items()}
    after = dict(slots)
    if rule.accumulate > 1:
        # Keras base_optimizer.py, _backend_apply_gradients.
        total = gradient.dense + slots.get("accumulated_gradient", 0.0)
        after["accumulated_gradient"] = np.zeros_like(total)
        if rule.position < rule.accumulate:
            after["accumulated_gradient"] = total
            return _averaged(rule, weight, after)
        count = rule.accumulate if rule.accumulated == "mean" else 1.0
        gradient = Gradient(total / count)
    step = _Step(rule, _clipped(rule, gradient, norm), weight, after)
    _decayed(step)
    # What overflows is not finite, and agrees with nothing.
    with np.errstate(all="ignore"):
        step.weight = step.weight - _KINDS[rule.kind](step)
    return _averaged(rule, step.weight, after)


def moved_one_by_one(
    rules: Mapping[str, Rule],
    gradient: Callable[[str], Gradient],
    slots: Callable[[str], Slots],
    weight: Callable[[str], Array],
) -> Iterator[tuple[str, Array, dict[str, Array]]]:
    """One step of many weights, one after the other: only one is held in memory.

    Args:
        rules: Name of a weight → its rule, in the order in which they are moved.
        gradient: Its gradient by name.
        slots: Its slots before the step by name.
        weight: Its value before the step by name.

    Yields:
        Name, weight and slots after the step.
    """
    norm = None
    if any(rule.clip == "global-norm" for rule in rules.values()):
        squares = [
            rule.copies * _total(rule, gradient(name), slots(name)).square_sum()
            for name, rule in rules.items()
            if rule.kind != "none"
        ]
        norm = np.sqrt(np.sum(np.array(squares)))
    for name, rule in rules.items():
        yield name, *take_step(rule, gradient(name), slots(name), weight(name), norm=norm)


def _total(rule: Rule, gradient: Gradient, slots: Slots) -> Gradient:
    """What the norm of all is taken of; of rows, of every occurrence."""
    if rule.accumulate == 1:
        return gradient
    total = gradient.dense + slots.get("accumulated_gradient", 0.0)
    return Gradient(total / (rule.accumulate if rule.accumulated == "mean" else 1.0))


def _clipped(rule: Rule, gradient: Gradient, norm: float | None) -> Gradient:
    """Keras base_optimizer.py, _clip_gradients; torch nn/utils/clip_grad.py."""
    if rule.clip == "value":
        return gradient.formed(lambda g: np.clip(g, -rule.clip_at, rule.clip_at))
    if rule.clip == "norm":
        # Keras: tensorflow/python/ops/clip_ops.py, clip_by_norm, of rows over every occurrence.
        size = max(np.sqrt(gradient.square_sum()), rule.clip_at)
        return gradient.formed(lambda g: g * rule.clip_at / size)
    if rule.clip == "global-norm" and norm is not None:
        scale = rule.clip_at * min(1.0 / (norm + rule.clip_epsilon), 1.0 / rule.clip_at)
        return gradient.densified().formed(lambda g: g * scale)
    return gradient


def _averaged(rule: Rule, weight: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """Keras base_optimizer.py, _update_model_variables_moving_average."""
    if rule.ema is None:
        return weight, slots
    kept = rule.ema if rule.update > 1 else 0.0
    average = kept * slots.get("average", np.zeros_like(weight)) + (1.0 - kept) * weight
    slots["average"] = average
    overwritten = rule.ema_every and rule.update % rule.ema_every == 0
    return (average if overwritten else weight), slots


@dataclass
class _Step:
    """One step under way.

    Attributes:
        rule: Every choice.
        gradient: Clipped.
        weight: Decayed.
        slots: Replaced one by one.
    """

    rule: Rule
    gradient: Gradient
    weight: Array
    slots: dict[str, Array] = field(default_factory=dict)

    @property
    def g(self) -> Array:
        """The gradient as an array."""
        return self.gradient.dense

    @property
    def square(self) -> Array:
        """The squared gradient; of rows, the sum of the squares of their occurrences."""
        return self.gradient.added(np.square)

    def constant(self, name: str, value: float) -> float:
        """A number, rounded to float32 where the rule says so."""
        return float(np.float32(value)) if name in self.rule.rounded else value

    def correction(self, index: int) -> float:
        """1 − β^t, in the dtype that the framework computes it in."""
        beta = self.rule.beta_1 if index == 1 else self.rule.beta_2
        beta = self.constant(f"power_{index}", self.constant(f"beta_{index}", beta))
        power: float = self.number(beta) ** self.number(self.rule.update)
        return self.number(1.0) - power

    def number(self, value: float) -> float:
        """A number in the dtype of corrections."""
        if self.rule.corrections == "double":
            return value
        return cast("float", self.weight.dtype.type(value))

    def before(self, slot: str) -> Array:
        """A slot before the step; zeros where there is none yet."""
        return self.slots.get(slot, np.zeros_like(self.weight))

    def average(self, slot: str, index: int, value: Array) -> Array:
        """A slot moved towards a value, by 1 − β."""
        beta = self.rule.beta_1 if index == 1 else self.rule.beta_2
        old = self.before(slot)
        self.slots[slot] = old + (value - old) * (1.0 - self.constant(f"beta_{index}", beta))
        return self.slots[slot]

    def velocity(self, direction: Array, *, sign: float) -> Array:
        """Keep a velocity; returns the step, which is subtracted.

        It is kept as Keras keeps it, with the rate inside, and with a sign.
        """
        rule, rate = self.rule, self.rule.rate
        momentum = self.constant("momentum", rule.momentum)
        if not momentum:
            return direction * rate
        fresh = "velocity" not in self.slots
        old = sign * self.before("velocity")
        if rule.velocity == "outside" and rule.previous_rate is not None and not fresh:
            old = old * (rate / rule.previous_rate)
        share = 1.0 if fresh else 1.0 - rule.dampening
        new = old * momentum + direction * (rate * share)
        self.slots["velocity"] = sign * new
        return new * momentum + direction * rate if rule.nesterov else new


def _decayed(step: _Step) -> None:
    """Turn the gradient where it is climbed, and decay the weight or what moves it.

    Keras backend/tensorflow/optimizer.py, _apply_weight_decay; torch optim/adam.py and sgd.py.
    """
    rule = step.rule
    if rule.maximize:
        step.gradient = step.gradient.formed(np.negative)
    decay = step.constant("decay", rule.decay)
    if rule.decay_form == "decoupled":
        step.weight = step.weight - step.weight * decay * rule.rate
    elif rule.decay_form == "coupled":
        step.gradient = Gradient(step.g + decay * step.weight)


def _sgd(step: _Step) -> Array:
    """Keras sgd.py, update_step; torch optim/sgd.py, _single_tensor_sgd."""
    return step.velocity(step.g, sign=-1.0)


def _adam(step: _Step) -> Array:
    """Keras adam.py, update_step; torch optim/adam.py, _single_tensor_adam."""
    rule = step.rule
    first = step.average("first_moment", 1, step.g)
    second = step.average("second_moment", 2, step.square)
    if rule.amsgrad:
        second = np.maximum(step.before("max_second_moment"), second)
        step.slots["max_second_moment"] = second
    bias, root = step.correction(1), cast("float", step.correction(2) ** 0.5)
    rate = step.number(rule.rate)
    if rule.epsilon_place == "before":
        return first * (rate * root / bias) / (np.sqrt(second) + rule.epsilon)
    return first * (rate / bias) / (np.sqrt(second) / root + rule.epsilon)


def _adamax(step: _Step) -> Array:
    """Keras adamax.py, update_step; torch optim/adamax.py, _single_tensor_adamax."""
    rule = step.rule
    first = step.average("first_moment", 1, step.g)
    inside = rule.epsilon if rule.epsilon_place == "maximum" else 0.0
    new = step.gradient.added(np.abs) + inside
    norm: Array = np.maximum(step.before("infinity_norm") * rule.beta_2, new)
    step.slots["infinity_norm"] = norm
    outside = rule.epsilon if rule.epsilon_place == "quotient" else 0.0
    size = step.correction(1) * (norm + outside)
    return first * step.number(rule.rate) / size


def _nadam(step: _Step) -> Array:
    """Keras nadam.py, update_step; torch optim/nadam.py, _single_tensor_nadam."""
    rule = step.rule
    now, following = (_nadam_momentum(rule, rule.update + ahead, step.number) for ahead in (0, 1))
    product = step.number(rule.product)
    first = step.average("first_moment", 1, step.g)
    second = step.average("second_moment", 2, step.square)
    ahead = first * (following / (1.0 - product * following))
    direction = ahead + step.g * ((1.0 - now) / (1.0 - product))
    size: Array = np.sqrt(second / step.correction(2))
    return direction * rule.rate / (size + rule.epsilon)


def _nadam_momentum(rule: Rule, update: int, number: Callable[[float], float]) -> float:
    """Nadam's momentum of one update."""
    beta, base = rule.beta_1, 0.96
    if "beta_1" in rule.rounded:
        beta = float(np.float32(beta))
    if "0.96" in rule.rounded:
        base = float(np.float32(base))
    power: float = number(base) ** number(update * rule.momentum_decay)
    return number(beta) * (number(1.0) - number(0.5) * power)


def _rmsprop(step: _Step) -> Array:
    """Keras rmsprop.py, update_step; torch optim/rmsprop.py, _single_tensor_rmsprop."""
    rule = step.rule
    second = step.average("second_moment", 2, step.square)
    if rule.centered:
        second = second - np.square(step.average("average_gradient", 2, step.g))
    return step.velocity(step.g / _root(second, rule), sign=1.0)


def _adagrad(step: _Step) -> Array:
    """Keras adagrad.py, update_step; torch optim/adagrad.py, _single_tensor_adagrad."""
    rule = step.rule
    start = np.full_like(step.weight, step.constant("accumulator", rule.accumulator))
    total = step.slots.get("accumulator", start) + step.square
    step.slots["accumulator"] = total
    return step.g * rule.rate / _root(total, rule)


def _root(square: Array, rule: Rule) -> Array:
    inside = rule.epsilon if rule.epsilon_place == "inside" else 0.0
    root: Array = np.sqrt(square + inside)
    return root if inside else root + rule.epsilon


def _adadelta(step: _Step) -> Array:
    """Keras adadelta.py, update_step; torch optim/adadelta.py, _single_tensor_adadelta."""
    rule, changes = step.rule, step.before("squared_changes")
    second = step.average("second_moment", 2, step.square)
    ratio: Array = np.sqrt(changes + rule.epsilon) / np.sqrt(second + rule.epsilon)
    step.average("squared_changes", 2, np.square(ratio) * step.square)
    return ratio * step.g * rule.rate


def _lion(step: _Step) -> Array:
    """Keras lion.py, update_step."""
    rule, first = step.rule, step.before("first_moment")
    kept = step.constant("beta_1", rule.beta_1)
    step.average("first_moment", 2, step.g)
    direction: Array = np.sign(first * kept + step.g * (1.0 - kept))
    return direction * rule.rate


_KINDS: Mapping[str, Callable[[_Step], Array]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamax": _adamax,
    "nadam": _nadam,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "lion": _lion,
}
"""Kind of an optimizer → what it subtracts from a weight. AdamW is an Adam."""
