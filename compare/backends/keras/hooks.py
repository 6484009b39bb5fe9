"""What passes through the weighted layers of a model: values forward, gradients back.

A value is noted as it passes and never kept. For its gradient it goes through an identity, whose
own gradient notes what comes back: for an input that is the part which this layer alone adds.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from compare.backends.keras import rules, weights
from compare.backends.keras.preserve_state import shadow
from compare.backends.keras.weights import Weighted

Note = Callable[[str, Any], None]
"""Receives `<layer>/input` or `<layer>/output`, and a tensor."""

_K = keras.layers
_ATTENTION = (_K.MultiHeadAttention, _K.GroupQueryAttention)
_ATTENTION_INPUTS = {"query": "input", "value": "input_value", "key": "input_key"}
_NOT_NOTED = ("training", "initial_state")


@contextmanager
def recording(model: keras.Model, note: Note, back: Note | None = None) -> Iterator[list[str]]:
    """While the block runs, every weighted layer notes its inputs and pre-activation output.

    An activation fused into a layer is looked behind: what enters it is the layer's output. A
    recurrent layer's output is its final state. A layer that runs again is noted again, as
    `name#2`. Values are channels last.

    Args:
        model: A built model; it is left as it was found.
        note: Called with every value, as it passes.
        back: Called with every gradient, as it passes; None where no gradients are taken.

    Yields:
        The names of the layers in the order in which they run, filled while the block does.
    """
    taps = _Taps(note, back)
    with ExitStack() as stack:
        _run_in_order(stack, model)
        for weighted in weights.weighted_layers(model):
            if weighted.host is not None:
                watched = _watched_host(weighted, taps)
            elif isinstance(weighted.layer, (_K.RNN, _K.Bidirectional)):
                watched = _watched_recurrent(stack, weighted, taps)
            else:
                watched = _watched(stack, weighted, taps)
            shadow(stack, weighted.host or weighted.layer, "call", watched)
        yield taps.order


def _run_in_order(stack: ExitStack, model: keras.Model) -> None:
    """Have functional models run what is equally deep in the order in which it was written.

    Keras runs the last of several outputs, and the last run of a shared layer, first. Values do not
    depend on it, unless a layer that remembers something runs twice: that keeps its order. So does
    everything beside attention, which takes the mask off what it receives.
    """
    for functional in model._flatten_layers():
        by_depth = vars(functional).get("_nodes_by_depth")
        if by_depth is None or any(isinstance(o, _ATTENTION) for o in functional._operations):
            continue
        written = {id(operation): i for i, operation in enumerate(functional._operations)}

        def place(node: Any, written: dict[int, int] = written) -> tuple[int, int]:
            operation = node.operation
            remembers = getattr(operation, "non_trainable_variables", None)
            run = 0 if remembers else operation._inbound_nodes.index(node)
            return written.get(id(operation), -1), run

        in_order = {depth: sorted(nodes, key=place) for depth, nodes in by_depth.items()}
        shadow(stack, functional, "_nodes_by_depth", in_order)


class _Taps:
    """Where values are noted, and under which names."""

    def __init__(self, note: Note, back: Note | None) -> None:
        self.note, self._back = note, back
        self.order: list[str] = []
        self._runs: Counter[str] = Counter()
        self._returned: set[str] = set()

    def run(self, weighted: Weighted) -> tuple[str, str]:
        """A layer begins to run: the names under which its input and its output are noted."""
        self._runs[weighted.name] += 1
        times = self._runs[weighted.name]
        names = [f"{name}#{times}" if times > 1 else name for name in weighted.parts]
        self.order += names
        return names[0], names[-1]

    def back(self, key: str, gradient: Any) -> None:
        """Note a gradient, the first time that one comes: a step may take several."""
        if self._back is not None and key not in self._returned:
            self._returned.add(key)
            self._back(key, keras.ops.convert_to_tensor(gradient))

    def through(self, tensors: Sequence[Any], back: Callable[..., None]) -> list[Any]:
        """The same tensors, through an identity that hands their gradients to `back`."""
        types = [keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors]
        if self._back is None or not all(keras.backend.is_float_dtype(t) for t in types):
            return list(tensors)

        def identity(*values: Any) -> Any:
            def gradient(*upstream: Any) -> Any:
                back(*upstream)
                return upstream if len(upstream) > 1 else upstream[0]

            return (values if len(values) > 1 else values[0]), gradient

        passed = keras.ops.custom_gradient(identity)(*tensors)
        passed = list(passed) if len(tensors) > 1 else [passed]
        for old, new in zip(tensors, passed, strict=True):
            for attribute in ("_keras_mask", "_keras_logits"):
                if getattr(old, attribute, None) is not None:
                    setattr(new, attribute, getattr(old, attribute))
        return passed

    def enter(self, key: str, tensor: Any, form: Callable[[Any], Any]) -> Any:
        """Note what a layer receives."""
        self.note(key, form(tensor))
        return self.through([tensor], lambda gradient: self.back(key, form(gradient)))[0]

    def leave(self, key: str, tensor: Any, form: Callable[[Any], Any]) -> Any:
        """Note what a layer computes."""
        # After it went through: so a next layer is seen to receive this very tensor.
        passed = self.through([tensor], lambda gradient: self.back(key, form(gradient)))[0]
        self.note(key, form(passed))
        return passed


def _watched(stack: ExitStack, weighted: Weighted, taps: _Taps) -> Callable[..., Any]:
    layer, form = weighted.layer, _channels_last(weighted.layer)
    call, signature = layer.call, inspect.signature(layer.call)
    activation = layer.__dict__.get("activation")
    name, activated = "", False

    if isinstance(layer, rules.FUSED) and callable(activation):

        def activate(x: Any) -> Any:
            nonlocal activated
            activated = True
            return activation(taps.leave(f"{name}/output", x, form))

        shadow(stack, layer, "activation", activate)

    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal name, activated
        first, name = taps.run(weighted)
        bound = signature.bind(*args, **kwargs)
        with _entered(layer, first, bound.arguments, taps):
            activated = False
            output = call(*bound.args, **bound.kwargs)
        if activated:
            return output
        flat = keras.tree.flatten(output)
        flat[0] = taps.leave(f"{name}/output", flat[0], form)
        return keras.tree.pack_sequence_as(output, flat)

    return watched


@contextmanager
def _entered(
    layer: keras.Layer, name: str, arguments: dict[str, Any], taps: _Taps
) -> Iterator[None]:
    """Note the tensors among a layer's arguments, and let each go in through a tap.

    A tensor that comes twice, as in self-attention, is noted twice and stays one: what comes back
    is what the layer adds in all its places.
    """
    form = _channels_last(layer)
    pairs: list[tuple[Any, Any]] = []

    def enter(label: str, x: Any) -> Any:
        same = next((new for old, new in pairs if old is x), None)
        if same is not None:
            taps.note(f"{name}/{label}", form(x))
            return same
        pairs.append((x, taps.enter(f"{name}/{label}", x, form)))
        return pairs[-1][1]

    def count(x: Any) -> Any:
        if not keras.ops.is_tensor(x) or keras.backend.standardize_dtype(x.dtype) == "bool":
            return x
        return enter(f"input_{len(pairs)}" if pairs else "input", x)

    if isinstance(layer, _K.MultiHeadAttention):
        if arguments.get("key") is arguments["value"]:
            arguments["key"] = None
        for key, label in _ATTENTION_INPUTS.items():
            if arguments.get(key) is not None:
                arguments[key] = enter(label, arguments[key])
    else:
        for key, value in arguments.items():
            if key not in _NOT_NOTED and not key.endswith("mask"):
                arguments[key] = keras.tree.map_structure(count, value)
    yield
    for old, new in pairs:
        # Attention takes the mask off what it receives, which others may receive as well.
        masked = getattr(new, "_keras_mask", None) is not None
        if new is not old and not masked and hasattr(old, "_keras_mask"):
            old._keras_mask = None


def _watched_recurrent(stack: ExitStack, weighted: Weighted, taps: _Taps) -> Callable[..., Any]:
    layer, call = weighted.layer, weighted.layer.call
    signature = inspect.signature(call)
    both = isinstance(layer, _K.Bidirectional)
    sides = [layer.forward_layer, layer.backward_layer] if both else [layer]
    states: list[Any] = []

    def noting_state(loop: Callable[..., Any]) -> Callable[..., Any]:
        def inner_loop(*args: Any, **kwargs: Any) -> Any:
            last_output, outputs, final = loop(*args, **kwargs)
            states.append(keras.tree.flatten(final)[0])
            return last_output, outputs, final

        return inner_loop

    for side in sides:
        shadow(stack, side, "inner_loop", noting_state(side.inner_loop))

    def watched(*args: Any, **kwargs: Any) -> Any:
        name, _ = taps.run(weighted)
        bound = signature.bind(*args, **kwargs)
        first, sequences = next(iter(bound.arguments.items()))
        bound.arguments[first] = taps.enter(f"{name}/input", sequences, _as_it_is)
        states.clear()
        output = call(*bound.args, **bound.kwargs)
        if len(states) == len(sides):
            taps.note(
                f"{name}/output", keras.ops.concatenate(states, axis=-1) if both else states[0]
            )

        def back(*upstream: Any) -> None:
            masked = bound.arguments.get("mask") is not None and layer.return_sequences
            gradient = None if masked else _state_gradient(layer, upstream)
            if gradient is not None:
                taps.back(f"{name}/output", gradient)

        flat = taps.through(keras.tree.flatten(output), back)
        return keras.tree.pack_sequence_as(output, flat)

    return watched


def _state_gradient(layer: Any, upstream: Sequence[Any]) -> Any:
    """The gradient of the final state, from those of all that the layer returns; None if unknown.

    With sequences it is what reaches the last output from outside, not through earlier steps.
    """
    output = upstream[0]
    if not isinstance(layer, _K.Bidirectional):
        last = output[:, -1] if layer.return_sequences else output
        return last + upstream[1] if layer.return_state else last
    if layer.merge_mode != "concat" or layer.return_state:
        return None
    if not layer.return_sequences:
        return output
    units = output.shape[-1] // 2
    return keras.ops.concatenate([output[:, -1, :units], output[:, 0, units:]], axis=-1)


def _watched_host(weighted: Weighted, taps: _Taps) -> Callable[..., Any]:
    """`TimeDistributed` calls its layer once per time step; it is noted as one run over all."""
    host: Any = weighted.host
    inner, call = weighted.layer, host.call
    whole = isinstance(inner, (_K.Dense, _K.LayerNormalization))
    linear = getattr(inner, "activation", None) in (None, keras.activations.linear)

    def watched(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        name, _ = taps.run(weighted)
        if whole:
            inputs = taps.enter(f"{name}/input", inputs, _as_it_is)
        output = call(inputs, *args, **kwargs)
        return taps.leave(f"{name}/output", output, _as_it_is) if whole and linear else output

    return watched


def _channels_last(layer: Any) -> Callable[[Any], Any]:
    """What puts a layer's channels last, whatever its own layout."""
    if getattr(layer, "data_format", None) == "channels_first":
        axis = 1
    elif isinstance(layer, (_K.BatchNormalization, _K.GroupNormalization)):
        axis = layer.axis
    else:
        return _as_it_is
    return lambda x: x if axis in (-1, x.ndim - 1) else keras.ops.moveaxis(x, axis, -1)


def _as_it_is(x: Any) -> Any:
    return x
