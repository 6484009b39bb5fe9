"""Carry weights from a Keras model to a Torch module, or back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.backends.loading import load
from compare.backends.protocol import Names
from compare.backends.structures import Structure
from compare.errors import InputError
from compare.parity.layouts import BY_FEATURE, channels_before, nearest
from compare.porting.matching import Partners, match, unpaired
from compare.porting.models import Side, build_pair, first_samples
from compare.porting.options import Options
from compare.porting.randomness import shared_trace
from compare.scratch import scratch_folder
from compare.trace import Layer, Trace


@dataclass(frozen=True)
class Carried:
    """One layer whose weights were carried over.

    Attributes:
        keras: Keras' name of the layer.
        torch: Torch's.
        kind: What both are.
        tensors: Canonical name → shape, in Keras' layout.
        how: What they were matched by; see `compare.porting.matching.Partners`.
        note: What was done beside copying.
    """

    keras: str
    torch: str
    kind: str
    tensors: Mapping[str, tuple[int, ...]]
    how: str
    note: str = ""


@dataclass(frozen=True)
class PortReport:
    """What was carried over, layer by layer in the order in which they run in Keras.

    Attributes:
        target: `"torch"` or `"keras"`.
        layers: One per pair of layers.
        dry_run: Whether nothing was written.
    """

    target: str
    layers: tuple[Carried, ...]
    dry_run: bool = False

    def __str__(self) -> str:
        rows = [("Keras", "Torch", "kind", "tensors", "matched by")]
        for layer in self.layers:
            tensors = ", ".join(f"{name} {shape}" for name, shape in layer.tensors.items())
            how = f"{layer.how}; {layer.note}" if layer.note else layer.how
            rows.append((layer.keras, layer.torch.replace("/", "."), layer.kind, tensors, how))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        cells = ([c.ljust(w) for c, w in zip(row, widths, strict=True)] for row in rows)
        count = sum(len(layer.tensors) for layer in self.layers)
        verb = "would be" if self.dry_run else "were"
        return "\n".join(
            [
                *("  ".join(row).rstrip() for row in cells),
                f"{count} tensors of {len(self.layers)} layers {verb} carried over to "
                f"{self.target.capitalize()}.",
            ]
        )


def port_weights(
    source: Any,
    target: Any,
    *,
    x: Structure | None = None,
    pairs: Mapping[str, str] | None = None,
    to_torch: Callable[[Structure], Structure] | None = None,
    dry_run: bool = False,
) -> PortReport:
    """Carry all weights and moving statistics over, from Keras to Torch or from Torch to Keras.

    Layers are matched by name where both sides use the same ones, else by kind, shapes and the
    order in which they run on `x`. Layouts, gate orders and biases are converted. Where a dense
    layer follows a flattened image, its rows are put into the order that the Torch side flattens
    in, which is seen by running both.

    Args:
        source: A built Keras model, or a Torch module.
        target: A model of the other framework, in the same dtype; its weights are replaced.
        x: Some samples in Keras' layout; None for synthetic ones of the Keras model's input shapes.
        pairs: Keras layer name → Torch module path, where names and order do not match them.
        to_torch: Puts samples into the module's layout; see `compare.check_parity`.
        dry_run: Whether to only propose the table, and write nothing.

    Returns:
        The table; print it.

    Raises:
        InputError: The models cannot be used, or something would be left uncopied on either side.
        MissingDependencyError: Keras or Torch is not installed.
    """
    to = "torch" if load("keras").is_model(source) else "keras"
    models = (source, target) if to == "torch" else (target, source)
    pair = build_pair(*models, x, Options(pairs=pairs, to_torch=to_torch))
    return carry(*pair.towards(to), first_samples(pair.x), pairs, dry_run=dry_run, must_run=True)


def carry(
    source: Side | Trace,
    target: Side,
    x: Structure,
    pairs: Mapping[str, str] | None = None,
    *,
    dry_run: bool = False,
    must_run: bool = False,
) -> PortReport:
    """Carry weights from one side to the other.

    Args:
        source: One side, or its trace of these samples.
        target: The other side.
        x: A few samples, on which both are run.
        pairs: As in `port_weights`.
        dry_run: As in `port_weights`.
        must_run: Whether a Torch side that raises is refused, as its layers have no order then;
            otherwise the ladder reports it.

    Raises:
        InputError: Something would be left uncopied on either side, or the Torch side raised.
    """
    to = target.name
    with scratch_folder() as scratch:

        def trace(side: Side) -> Trace:
            folder = Path(tempfile.mkdtemp(dir=scratch))
            if recorded is None:
                return side.trace([(x, None)], folder)
            # What enters a layer in training is compared: the same is dropped as was then.
            return shared_trace(side, [(x, None)], folder, recorded)

        recorded = source if isinstance(source, Trace) else None
        if not isinstance(source, Trace):
            source = trace(source)
        traces = {"torch" if to == "keras" else "keras": source, to: trace(target)}
        if must_run and "error" in traces["torch"]:
            raise InputError(
                f"the Torch side raised {traces['torch']['error']}, so its layers cannot be "
                "matched. Pass x=… as the model takes it, or to_torch=…."
            )
        partners = match(traces["keras"].layers, traces["torch"].layers, pairs)
        _check_nothing_left(traces, partners)
        reordered: set[str] = set()
        if not dry_run:
            weights = _renamed(source, partners, to)
            target.write(weights)
            for pair in partners:
                if _follows_an_image(traces["keras"], pair.keras):
                    traces[to] = trace(target)
                    if _reorder(traces, pair, weights, to):
                        target.write(weights)
                        reordered.add(pair.keras["name"])
    return PortReport(to, tuple(_carried(pair, reordered) for pair in partners), dry_run)


def _carried(pair: Partners, reordered: Collection[str]) -> Carried:
    name = str(pair.keras["name"])
    tensors = {key: tuple(shape) for key, shape in pair.keras["tensors"].items()}
    note = "rows in Torch's order" if name in reordered else ""
    return Carried(name, pair.torch["name"], pair.keras["kind"], tensors, pair.how, note)


def _check_nothing_left(traces: Mapping[str, Trace], partners: Sequence[Partners]) -> None:
    """Raise unless every tensor of either side has a partner of its shape."""
    left = [
        f"{layer['name']} ({layer['kind']} {_shapes(layer)}) in {side} has no partner in {other}"
        for side, other, layer in unpaired(traces["keras"].layers, traces["torch"].layers, partners)
    ]
    left += [
        f"{pair.keras['name']} has {_shapes(pair.keras)} in Keras, its partner "
        f"{pair.torch['name']} {_shapes(pair.torch)} in Torch"
        for pair in partners
        if pair.keras["tensors"] != pair.torch["tensors"]
    ]
    if left:
        raise InputError(
            "no weights were copied, because some would be left uncopied: "
            f"{'; '.join(left)}. Make the two alike, or name partners: "
            'pairs={"keras_layer": "torch.module"}.'
        )


def _shapes(layer: Layer) -> str:
    return ", ".join(f"{name} {tuple(shape)}" for name, shape in layer["tensors"].items())


def _renamed(source: Trace, partners: Sequence[Partners], to: str) -> dict[str, NDArray[Any]]:
    """The source's weights by the target's names."""
    return {
        f"{pair.layer(to)['name']}/{tensor}": source[f"initial/{pair.other(to)['name']}/{tensor}"]
        for pair in partners
        for tensor in pair.keras["tensors"]
    }


def _follows_an_image(keras: Trace, layer: Layer) -> bool:
    entered = keras.get(f"training/{layer['name']}/input")
    if layer["kind"] not in BY_FEATURE or entered is None or entered.ndim != 2:
        return False
    channels = channels_before(keras, layer["name"])
    # As many features as channels: a pooled image has but one order.
    return any(count > 1 for count in channels) and channels[0] != entered.shape[1]


def _reorder(
    traces: Mapping[str, Trace], pair: Partners, weights: dict[str, NDArray[Any]], to: str
) -> bool:
    """Put a layer's features into the order that the Torch side flattens in; whether it has."""
    # In evaluation nothing is dropped. A recording's is of other weights, those after its steps.
    mode = "training" if any("step/1/loss" in side for side in traces.values()) else "evaluation"
    name = pair.keras["name"]
    keras = traces["keras"][f"{mode}/{name}/input"]
    torch = traces["torch"].get(f"{mode}/{pair.torch['name']}/input", np.empty(0))
    order = nearest(keras, torch, channels_before(traces["keras"], name))
    if order is None:
        return False
    for tensor in BY_FEATURE[pair.keras["kind"]]:
        key = f"{pair.layer(to)['name']}/{tensor}"
        if key in weights:
            weights[key] = weights[key][order if to == "torch" else np.argsort(order)]
    return True


def weight_rule(keras_type: type, torch_type: type) -> Callable[[Callable[[], Names]], Names]:
    """Register how a layer of one framework corresponds to one of the other.

    The decorated function takes nothing and returns, for every variable of the Keras layer by its
    name, the parameter of the Torch module, and how that is transposed. The layers then count as
    one whole: what is inside is not looked into.

    ```python
    @compare.weight_rule(MyDense, MyLinear)
    def my_dense():
        return {"kernel": ("projection.weight", (1, 0)), "scale": "scale"}
    ```

    Args:
        keras_type: A subclass of `keras.Layer`.
        torch_type: A subclass of `torch.nn.Module`.

    Returns:
        A decorator, which returns the rule.

    Raises:
        InputError: The function returned something else.
        MissingDependencyError: Keras or Torch is not installed.
    """
    if not (isinstance(keras_type, type) and isinstance(torch_type, type)):
        raise InputError(
            "weight_rule: expected a Keras layer type and a Torch module type, received "
            f"{keras_type!r} and {torch_type!r}."
        )

    def register(function: Callable[[], Names]) -> Names:
        rule = function()
        if not isinstance(rule, Mapping) or not rule:
            raise InputError(
                f"weight_rule: expected {{Keras variable: Torch parameter}} from the function, "
                f"received {rule!r}."
            )
        kind = keras_type.__name__
        load("keras").add_rule(keras_type, kind=kind)
        load("torch").add_rule(torch_type, dict(rule), kind=kind)
        return rule

    return register
