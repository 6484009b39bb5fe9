"""Where a long computation is: which side, which pass, which layer.

The computation tells a listener, if there is one. Nothing is shown here, and without a listener no
text is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from numpy.typing import NDArray

from compare.backends.protocol import Sink
from compare.trace import split

Listener = Callable[[str], None]
"""Called with what is under way, such as `"Keras, training pass, block3_conv2"`."""

_PASSES: Mapping[str, str] = {
    "training": "training pass",
    "backward": "backward pass",
    "evaluation": "evaluation",
}
"""Group of arrays in a trace that are known layer by layer → what computes them."""

_STEP = re.compile(r"step/(\d+)/")


@dataclass(frozen=True)
class Progress:
    """Says what is under way; call it with the parts of a text, the largest first.

    Attributes:
        listener: Who is told; None for nobody.
        parts: What all of it belongs to.
    """

    listener: Listener | None = None
    parts: tuple[str, ...] = ()

    def __call__(self, *parts: str) -> None:
        if self.listener is not None:
            self.listener(", ".join((*self.parts, *parts)))

    def within(self, *parts: str) -> Progress:
        """The progress of a part."""
        return replace(self, parts=(*self.parts, *parts))

    def heard(self, sink: Sink, steps: int) -> Sink:
        """A sink that says where a trace is, from the names of what it hands on.

        Args:
            sink: Receives every array; it has `alias`.
            steps: Training steps of the trace.
        """
        if self.listener is None:
            return sink

        def hear(name: str) -> None:
            group, inner = split(name)
            step = _STEP.match(name)
            if group in _PASSES:
                self(_PASSES[group], inner.rpartition("/")[0])
            elif step is not None:
                self(f"step {step[1]} of {steps}")

        return Heard(sink, hear)


class Heard:
    """A sink whose names are heard before it receives them.

    Args:
        sink: Receives every array; it has `alias`.
        hear: Called with every name.
    """

    def __init__(self, sink: Sink, hear: Callable[[str], None]) -> None:
        self._sink, self._hear = sink, hear

    def __call__(self, name: str, array: NDArray[Any]) -> None:
        self._hear(name)
        self._sink(name, array)

    def alias(self, name: str, existing: str) -> None:
        """One array is another, which was just recorded."""
        self._hear(name)
        cast(Any, self._sink).alias(name, existing)
