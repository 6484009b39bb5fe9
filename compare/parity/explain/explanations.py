"""Which known conventions explain a divergence.

Each explanation is a hypothesis with a prediction: given what Keras computed, what would Torch have
computed under the convention? It is named only when the prediction holds to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from compare.parity.explain import first_step, forward, losses, steps
from compare.parity.explain import steps as epochs
from compare.parity.explain.evidence import Evidence, Histories, Plans
from compare.parity.ladder import RUNGS, Check, Divergence, Ladder
from compare.trace import Trace

Explanation = Callable[[Evidence], Sequence[str]]


def explain(
    check: Check,
    keras: Trace,
    torch: Trace,
    plans: Plans | None = None,
    histories: Histories | None = None,
) -> tuple[str, ...]:
    """Names of the conventions that explain a failed check; empty where none is known to.

    Args:
        check: The first check that failed.
        keras: Keras' trace.
        torch: Torch's trace, with Keras' layer names.
        plans: Framework → batches as delivered, where whole trainings are compared.
        histories: What each side reported after every epoch, where they were trained.
    """
    evidence = Evidence(check, keras, torch, plans, histories)
    for explanation in _EXPLANATIONS.get(check.rung, ()):
        try:
            # A prediction that overflows is not finite, and does not hold.
            with np.errstate(all="ignore"):
                names = tuple(explanation(evidence))
        # One side lacks the arrays that the hypothesis is about, has others, or has only zeros.
        except (ArithmeticError, LookupError, ValueError):
            continue
        if names:
            return names
    return ()


def divergence(
    ladder: Ladder,
    keras: Trace,
    torch: Trace,
    plans: Plans | None = None,
    histories: Histories | None = None,
) -> Divergence | None:
    """What differs first, and the conventions that explain it; None where nothing differs.

    Args:
        ladder: The ladder, climbed.
        keras: As in `explain`.
        torch: As in `explain`.
        plans: As in `explain`.
        histories: As in `explain`.
    """
    check = ladder.first_failure()
    if check is None:
        return None
    names = explain(check, keras, torch, plans, histories)
    return Divergence(check.rung, RUNGS[check.rung], check.step, check.layer, names)


def _affine(e: Evidence) -> Sequence[str]:
    sides = [
        next((set(x["tensors"]) for x in side.layers if x["name"] == e.check.layer), set())
        for side in (e.keras, e.torch)
    ]
    more = sides[1] - sides[0]
    if not more or more - {"gamma", "beta"}:
        return ()
    return ("bn-center-only",) if more == {"gamma"} else ("bn-affine",)


def _plan(e: Evidence) -> Sequence[str]:
    if e.plans is None:
        return ()
    keras, torch = e.plans["keras"], e.plans["torch"]
    short = torch.shape[1]
    if short == keras.shape[1] - 1 and np.array_equal(keras[:, :short], torch):
        return ("last-batch",)
    if keras.shape != torch.shape:
        return ()
    flat = [np.sort(plan.reshape(len(plan), -1), axis=1) for plan in (keras, torch)]
    everywhere = (keras != torch).reshape(len(keras), -1).any(axis=1).all()
    return ("batch-order",) if everywhere and np.array_equal(flat[0], flat[1]) else ()


def _forget_bias(e: Evidence) -> Sequence[str]:
    layer = e.layer()
    if layer is None or layer["kind"] != "lstm":
        return ()
    keras, torch = e.both(f"initial/{layer['name']}/bias")
    expected = np.zeros_like(keras)
    units = len(keras) // 4
    expected[units : 2 * units] = 1.0
    return ("lstm-forget-bias",) if e.close(expected, keras - torch) else ()


def _kernel_layout(e: Evidence) -> Sequence[str]:
    keras, torch = e.both(e.check.path)
    if keras.ndim < 2 or keras.shape != torch.shape:
        return ()
    native = (*keras.shape[:-3:-1], *keras.shape[:-2])
    misplaced = np.moveaxis(keras.reshape(native), (0, 1), (-1, -2))
    return ("kernel-layout",) if e.close(misplaced, torch) else ()


def _initializers(e: Evidence) -> Sequence[str]:
    kernels = [key for key in e.keras if key.startswith("initial/") and key.endswith("kernel")]
    differ = [np.abs(np.subtract(*e.both(key))).max() > 1e-6 for key in kernels]
    return ("initializers",) if all(differ) else ()


def _gate_order(e: Evidence) -> Sequence[str]:
    """A GRU's first two gates have changed places."""
    layer = e.layer()
    if layer is None or not layer["kind"].endswith("gru"):
        return ()
    keras, torch = e.both(e.check.path)
    update, reset, new = np.split(keras, 3, axis=-1)
    swapped = np.concatenate([reset, update, new], axis=-1)
    return ("gru-gate-order",) if e.close(swapped, torch) else ()


_EXPLANATIONS: Mapping[int, Sequence[Explanation]] = {
    1: (_affine,),
    2: (_plan,),
    3: (_forget_bias, _gate_order, _kernel_layout, _initializers),
    4: (
        forward.batch_first,
        forward.flatten_order,
        forward.batch_norm,
        forward.norm_epsilon,
        forward.same_padding,
        forward.leaky_slope,
        forward.rounded_constants,
        forward.mask_zero,
    ),
    5: (
        losses.reduction,
        losses.activated_twice,
        losses.clipped,
        losses.broadcast,
        losses.penalties,
    ),
    6: (losses.padding_row,),
    7: (
        steps.single_bias,
        steps.sparse_gradients,
        first_step.first_step,
        steps.momentum_float32,
        steps.schedule,
    ),
    8: (epochs.moving_statistics,),
    10: (epochs.evaluated_while_training, epochs.epoch_metrics),
}
