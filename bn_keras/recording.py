"""What passes through the weighted layers of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from bn_keras import weights

_ABSENT = object()


@contextmanager
def recording(model: keras.Model) -> Iterator[dict[str, tuple[Any, Any]]]:
    """While the block runs, every weighted layer notes its input and pre-activation output.

    An activation fused into a layer is looked behind: what enters it is the layer's output. A layer
    that runs again is noted again, as `name#2`.

    Args:
        model: A built model; it is left as it was found.

    Yields:
        Name → (input, output) in the order in which layers run, filled while the block does.
    """
    passed: dict[str, tuple[Any, Any]] = {}
    with ExitStack() as stack:
        for name, layer in weights.weighted_layers(model).items():
            _watch(stack, layer, name, passed)
        yield passed


def _watch(
    stack: ExitStack, layer: keras.Layer, name: str, passed: dict[str, tuple[Any, Any]]
) -> None:
    call, before_activation = layer.call, []
    activation = layer.__dict__.get("activation")
    if callable(activation) and not isinstance(layer, keras.layers.RNN):

        def activate(x: Any) -> Any:
            before_activation.append(x)
            return activation(x)

        _shadow(stack, layer, "activation", activate)

    def watched(x: Any, *args: Any, **kwargs: Any) -> Any:
        output = call(x, *args, **kwargs)
        left = before_activation.pop() if before_activation else output
        times = sum(key.partition("#")[0] == name for key in passed)
        passed[f"{name}#{times + 1}" if times else name] = (x, _last(layer, left))
        return output

    _shadow(stack, layer, "call", watched)


def _shadow(stack: ExitStack, layer: keras.Layer, attribute: str, value: Any) -> None:
    """Replace an attribute until the stack unwinds.

    In the instance's own dictionary: setting it the usual way would have Keras track it.
    """
    before = layer.__dict__.get(attribute, _ABSENT)
    layer.__dict__[attribute] = value

    def put_back() -> None:
        if before is _ABSENT:
            del layer.__dict__[attribute]
        else:
            layer.__dict__[attribute] = before

    stack.callback(put_back)


def _last(layer: keras.Layer, output: Any) -> Any:
    """A recurrent layer's last output, whatever it returns beside; others' outputs as they are."""
    if not isinstance(layer, keras.layers.RNN):
        return output
    output = output[0] if isinstance(output, (tuple, list)) else output
    return output[:, -1] if layer.return_sequences else output
