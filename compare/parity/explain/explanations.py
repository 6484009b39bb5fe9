"""Which known conventions explain a divergence, and those that explain what is not computed yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from compare.conventions import Numbers
from compare.parity.explain import (  # noqa: F401 – they register
    attention,
    between_layers,
    convolutions,
    forward,
    losses,
    recurrent,
    training,
    whole_trainings,
)
from compare.parity.explain.evidence import EXPLANATIONS, Evidence, Outcomes, Plans, explains
from compare.parity.ladder import RUNGS, Divergence, Ladder
from compare.trace import Operation, Trace


def divergence(
    ladder: Ladder,
    keras: Trace,
    torch: Trace,
    plans: Plans = MappingProxyType({}),
    outcomes: Outcomes = MappingProxyType({}),
    losses_set: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
    operations: Sequence[Operation] = (),
) -> Divergence | None:
    """What differs first, and the conventions that explain it; None where nothing differs.

    Args:
        ladder: The ladder, climbed.
        keras: Keras' trace.
        torch: Torch's trace, with Keras' layer names.
        plans: Framework → batches as delivered, where whole trainings are compared.
        outcomes: Framework → what training left, where both were trained.
        losses_set: Settings of both sides' losses, as far as they are known.
        operations: All that runs in Keras, in order, weighted or not, where that is known.
    """
    check = ladder.first_failure()
    if check is None:
        return None
    evidence = Evidence(check, keras, torch, plans, outcomes, losses_set, operations)
    named = next(filter(None, (explanation(evidence) for explanation in EXPLANATIONS)), {})
    rung = RUNGS[check.rung]
    return Divergence(check.rung, rung, check.step, check.layer, tuple(named), numbers=named)


@explains(1)
def _affine(e: Evidence) -> Sequence[str]:
    """A batch normalization has a scale or a shift in Torch alone."""
    keras, torch = (
        next((set(x["tensors"]) for x in side.layers if x["name"] == e.check.layer), set())
        for side in (e.keras, e.torch)
    )
    more = torch - keras
    if not more or more - {"gamma", "beta"}:
        return ()
    return ("bn-center-only",) if more == {"gamma"} else ("bn-affine",)


@explains(3, "lstm-forget-bias", kinds=["lstm", "bidirectional_lstm"])
def _forget_bias(e: Evidence) -> bool:
    """Keras' forget bias is larger by one, in every direction, and nothing else differs."""
    for key in e.keras:
        if not key.startswith(f"initial/{e.check.layer}/"):
            continue
        keras, torch = e.both(key)
        expected = np.zeros_like(keras)
        if key.endswith("/bias"):
            units = len(keras) // 4
            expected[units : 2 * units] = 1.0
        if not e.close(expected, keras - torch):
            return False
    return True


@explains(3, "gru-gate-order", kinds=["gru", "bidirectional_gru"])
def _gate_order(e: Evidence) -> bool:
    """A GRU's first two gates have changed places."""
    keras, torch = e.failed()
    update, reset, new = np.split(keras, 3, axis=-1)
    return e.close(np.concatenate([reset, update, new], axis=-1), torch)


@explains(3)
def _kernel_layout(e: Evidence) -> Mapping[str, Numbers]:
    """A kernel was reshaped to Torch's shape, and not transposed."""
    keras, torch = e.failed()
    if keras.ndim < 2 or keras.shape != torch.shape:
        return {}
    axes = (*range(keras.ndim)[:-3:-1], *range(keras.ndim - 2))
    native = [keras.shape[axis] for axis in axes]
    reshaped = np.moveaxis(keras.reshape(native), (0, 1), (-1, -2))
    return {"kernel-layout": {"axes": axes}} if e.close(reshaped, torch) else {}


@explains(3, "initializers")
def _initializers(e: Evidence) -> bool:
    """Every kernel differs."""
    kernels = [key for key in e.keras if key.startswith("initial/") and key.endswith("kernel")]
    return all(np.abs(np.subtract(*e.both(key))).max() > 1e-6 for key in kernels)
