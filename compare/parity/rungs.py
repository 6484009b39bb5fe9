"""What is compared on each rung of the ladder, and who is blamed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from compare.parity.checks import Ladder
from compare.parity.gaps import Gap, gap
from compare.traces import Layer, Trace

AS_LOGITS = "One returns logits, the other probabilities: compared as logits."

EQUAL = Gap(0.0, 0.0, (), math.nan, math.nan, 1.0)


def unequal(note: str) -> Gap:
    """The gap between things that are not numbers, and differ."""
    return Gap(math.inf, math.inf, (), math.nan, math.nan, 1.0, note)


def structure(ladder: Ladder, keras: Sequence[Layer], torch: Sequence[Layer]) -> None:
    """Rung 1: the same weighted layers in the same order, with the same tensors and counts."""
    ladder.climbed.append(1)
    names = [layer["name"] for layer in torch]
    for layer in keras:
        if layer["name"] not in names:
            note = f"{layer['kind']} in Keras, no partner in Torch"
            ladder.add(1, layer["name"], layer["name"], unequal(note))
    by_name = {layer["name"]: layer for layer in keras}
    for layer in torch:
        ours = by_name.get(layer["name"])
        note = "" if ours is not None else f"{layer['kind']} in Torch, no partner in Keras"
        if ours is not None:
            parts = ("kind", "tensors", "trained")
            differing = [p for p in parts if ours[p] != layer[p]]
            note = "; ".join(f"{p}: {ours[p]} in Keras, {layer[p]} in Torch" for p in differing)
        ladder.add(1, layer["name"], layer["name"], unequal(note) if note else EQUAL)


def climb(ladder: Ladder, keras: Trace, torch: Trace) -> None:
    """Rungs 1 to 9 over two traces; Torch's layers have been given their partners' names."""
    structure(ladder, keras.layers, torch.layers)
    order = [layer["name"] for layer in keras.layers]
    _data(ladder, keras, torch)
    _same_keys(ladder, 3, keras, torch, "initial", None)
    _forward(ladder, 4, keras, torch, "training")
    _output(ladder, 4, keras, torch, "step/1/prediction")
    ladder.climbed.append(5)
    if "step/1/loss" in keras or "step/1/loss" in torch:
        ladder.add(5, "step/1/loss", "loss", _found(keras, torch, "step/1/loss"), 1)
    _backward(ladder, keras, torch, order)
    for step in range(1, max(keras.steps, torch.steps) + 1):
        _optimizer(ladder, keras, torch, step, order)
        _same_keys(ladder, 8, keras, torch, f"step/{step}/statistics", step, order=order)
    _forward(ladder, 9, keras, torch, "evaluation")
    _output(ladder, 9, keras, torch, "prediction")


def _data(ladder: Ladder, keras: Trace, torch: Trace) -> None:
    ladder.climbed.append(2)
    for step in range(1, max(keras.steps, torch.steps) + 1):
        for part in ("x", "y"):
            for key in _several(f"step/{step}/data/{part}", keras, torch):
                if key not in torch and "error" in torch:
                    continue  # Torch raised before: that is told on the rung where it did.
                # (n,) and (n, 1) are the same targets.
                ladder.add(2, key, "data", _found(keras, torch, key, np.squeeze), step)


def _several(name: str, keras: Trace, torch: Trace) -> list[str]:
    """The names of an array, or of the parts of a structure of arrays."""
    every = dict.fromkeys([*keras, *torch])
    return [key for key in every if key == name or key.startswith(f"{name}/")]


def _same_keys(
    ladder: Ladder,
    rung: int,
    keras: Trace,
    torch: Trace,
    prefix: str,
    step: int | None,
    *,
    order: Sequence[str] | None = None,
) -> None:
    """Compare everything under a prefix, layers in the order given; what one side lacks fails."""
    ladder.climbed.append(rung)
    order = [layer["name"] for layer in keras.layers] if order is None else order
    layers = _layers(keras, torch, prefix, order)

    def position(key: str) -> int:
        return order.index(layers[key]) if layers[key] in order else len(order)

    for key in sorted(layers, key=position):
        ladder.add(rung, key, layers[key], _found(keras, torch, key), step)


def _layers(keras: Trace, torch: Trace, prefix: str, order: Sequence[str]) -> dict[str, str]:
    """The layer of every name under a prefix, of either side."""
    found = {}
    for key in dict.fromkeys([*keras, *torch]):
        if key.startswith(f"{prefix}/"):
            inner = key.removeprefix(f"{prefix}/")
            fitting = [name for name in order if inner.startswith(f"{name}/")]
            found[key] = max(fitting, key=len, default=inner.partition("/")[0])
    return found


def _found(
    keras: Trace,
    torch: Trace,
    key: str,
    form: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray,
) -> Gap:
    if key not in torch:
        reason = f": {torch['error']}" if "error" in torch else ""
        return unequal(f"missing in Torch{reason}")
    if key not in keras:
        return unequal("missing in Keras")
    return gap(form(keras[key]), form(torch[key]))


def _forward(ladder: Ladder, rung: int, keras: Trace, torch: Trace, mode: str) -> None:
    """Inputs and outputs in the order of execution.

    A layer is blamed only when its inputs agree and its output does not; when its inputs differ
    although every layer before agreed, what lies between the two is.
    """
    ladder.climbed.append(rung)
    step = 1 if rung == 4 else None
    before = "the input"
    for name, ends in _passes(keras, mode).items():
        for end in ends:
            key = f"{mode}/{name}/{end}"
            # Of a layer in two parts, what passes between them may not be known: blame the whole.
            whole = name if "input" in ends else name.rpartition("/")[0] or name
            blame = whole if end == "output" else f"between {before} and {name}"
            # One side may give an attention its key and its value in one.
            if end in ("input", "output") or key in torch:
                ladder.add(rung, *_entry(keras, torch, key, blame), step)
        before = name


def _passes(trace: Trace, mode: str) -> dict[str, list[str]]:
    """Layer → what of it was recorded, in the order of execution: input, …, output."""
    found: dict[str, list[str]] = {}
    for key in trace:
        if key.startswith(f"{mode}/"):
            name, _, end = key.removeprefix(f"{mode}/").rpartition("/")
            found.setdefault(name, []).append(end)
    return {name: sorted(ends, key=_end) for name, ends in found.items()}


def _end(name: str) -> bool:
    return name == "output"


def _backward(ladder: Ladder, keras: Trace, torch: Trace, order: Sequence[str]) -> None:
    """Gradients in the order in which they are computed, from the loss back to the input.

    A layer is blamed when the gradient that reaches its output agrees, and what it makes of it
    does not. On the way only what both sides know is compared: a tensor may be one side's alone.
    """
    ladder.climbed.append(6)
    passes = _passes(keras, "training")
    left = _layers(keras, torch, "gradient", order)
    after = "the loss"

    def tensor(name: str, blame: str) -> None:
        if (key := f"backward/{name}") in keras and key in torch:
            ladder.add(6, *_entry(keras, torch, key, blame), 1)

    for name in list(passes)[::-1]:
        tensor(f"{name}/output", f"between {name} and {after}")
        for key in [key for key, layer in left.items() if layer == name]:
            ladder.add(6, *_entry(keras, torch, key, left.pop(key)), 1)
        for end in passes[name]:
            if end != "output":
                tensor(f"{name}/{end}", name)
        after = name
    for key, layer in left.items():
        ladder.add(6, *_entry(keras, torch, key, layer), 1)


def _entry(keras: Trace, torch: Trace, key: str, blame: str) -> tuple[str, str, Gap]:
    return key, blame, _found(keras, torch, key)


def _optimizer(ladder: Ladder, keras: Trace, torch: Trace, step: int, order: Sequence[str]) -> None:
    """Rung 7: parameters and slots; when every trained layer differs, blame the optimizer."""
    fresh = ladder.fresh()
    for group in ("weights", "slots"):
        _same_keys(fresh, 7, keras, torch, f"step/{step}/{group}", step, order=order)
    failing = {check.layer for check in fresh.checks if not check.passed}
    trained = {layer["name"] for layer in keras.layers if layer["trained"]}
    everywhere = failing >= trained and len(trained) > 1
    ladder.climbed.append(7)
    for check in fresh.checks:
        layer = "optimizer" if everywhere else check.layer
        ladder.add(7, check.path, layer, check.gap, step)


def _output(ladder: Ladder, rung: int, keras: Trace, torch: Trace, name: str) -> None:
    """The model's outputs, at the level that both sides have: logits where one returns logits."""
    mode, step = ("training", 1) if rung == 4 else ("evaluation", None)
    for key in _several(name, keras, torch):
        compared = key
        if key in keras and key in torch:
            compared = _logits(keras, torch, key, mode) or _logits(torch, keras, key, mode) or key
        if compared != key:
            ladder.note(AS_LOGITS)
        ladder.add(rung, key, "output", _found(keras, torch, compared), step)


def _logits(one: Trace, other: Trace, key: str, mode: str) -> str | None:
    """The output of a layer that is the model's on one side, and its logits on the other."""
    mine, theirs = np.asarray(one[key]), np.asarray(other[key])
    for name in reversed(_passes(one, mode)):
        end = f"{mode}/{name}/output"
        if end in one and end in other and np.array_equal(one[end], mine, equal_nan=True):
            probabilities = (special.expit(other[end]), special.softmax(other[end], axis=-1))
            # Which activation it is shows in the first digits.
            fits = (p.shape == theirs.shape and np.allclose(p, theirs) for p in probabilities)
            return end if any(fits) else None
    return None


def trajectory(
    ladder: Ladder,
    keras: Mapping[str, NDArray[Any]],
    torch: Mapping[str, NDArray[Any]],
) -> None:
    """Rung 10: weights, moving statistics and losses after every epoch.

    Args:
        ladder: Where the checks go.
        keras: Name → array, epochs along axis 0; what is no tensor of a layer may begin with
            `prediction/`, and is then blamed on that alone.
        torch: The same of the other side.
    """
    ladder.climbed.append(10)
    names = list(dict.fromkeys([*keras, *torch]))
    layers = {name.rpartition("/")[0] for name in names} - {"", "prediction"}
    epochs = max((len(a) for a in (*keras.values(), *torch.values())), default=0)
    for epoch in range(epochs):
        fresh = ladder.fresh()
        for name in names:
            sides = [side.get(name, np.empty(0)) for side in (keras, torch)]
            rows = [side[epoch] if epoch < len(side) else np.empty(0) for side in sides]
            fresh.add(10, name, name.rpartition("/")[0] or name, gap(*rows), epoch + 1)
        failing = {check.layer for check in fresh.checks if not check.passed}
        everywhere = len(failing & layers) > 1
        for check in fresh.checks:
            layer = "every layer" if everywhere else check.layer
            ladder.add(10, check.path, layer, check.gap, epoch + 1)


def outcome(ladder: Ladder, keras: Mapping[str, Any], torch: Mapping[str, Any]) -> None:
    """Rung 11: predictions within tolerance, counts and epochs to the target equal.

    Args:
        ladder: Where the checks go.
        keras: Name → array of predictions, or a list of whole numbers (None for never).
        torch: The same of the other side.
    """
    ladder.climbed.append(11)
    for name, ours in keras.items():
        theirs = torch[name]
        if isinstance(ours, np.ndarray):
            ladder.add(11, name, "prediction", gap(ours, theirs))
            continue
        for step, (a, b) in enumerate(zip_longest(ours, theirs, fillvalue="nothing"), start=1):
            if a != b:
                ladder.add(11, name, "prediction", unequal(f"{a} in Keras, {b} in Torch"), step)
                break
        else:
            ladder.add(11, name, "prediction", EQUAL)
