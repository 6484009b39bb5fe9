"""The order in which a functional model runs what does not depend on each other."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import keras

from compare.backends.keras.restoring import shadow

_ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)


def run_in_order(stack: ExitStack, model: keras.Model) -> None:
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
