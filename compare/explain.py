"""Which known conventions explain a divergence.

Each explanation is a hypothesis with a prediction: given what Keras computed, what would Torch have
computed under the convention? It is named only when the prediction holds to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from compare.evidence import Array, Evidence, Histories, Plans, statistics_update
from compare.ladder import RUNGS, Check, Divergence, Ladder
from compare.traces import Trace

_TORCH_LEARNING_RATE = 1e-3
"""What `torch.optim.SGD` takes where nobody says otherwise."""

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
        # One side lacks the arrays that the hypothesis is about, or has others.
        except (KeyError, ValueError):
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
    return ("bn-affine",) if sides[1] - sides[0] == {"gamma", "beta"} else ()


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


def _batch_first(e: Evidence) -> Sequence[str]:
    """Torch took the batch for the time steps."""
    keras, torch = e.both(e.check.path)
    lstm = any(
        layer["kind"] == "lstm" and f"/{layer['name']}/" in e.check.path for layer in e.keras.layers
    )
    swapped = lstm and keras.ndim == 3 and e.close(keras.transpose(1, 0, 2), torch)
    return ("lstm-batch-first",) if swapped else ()


def _flatten_order(e: Evidence) -> Sequence[str]:
    keras, torch = e.both(e.check.path)
    before = e.check.layer.removeprefix("between ").partition(" and ")[0]
    channels = e.keras[f"training/{before}/output"].shape[-1]
    if keras.ndim != 2 or keras.shape[1] % channels:
        return ()
    first = keras.reshape(len(keras), -1, channels).transpose(0, 2, 1).reshape(keras.shape)
    return ("flatten-order",) if e.close(first, torch) else ()


def _batch_norm_forward(e: Evidence) -> Sequence[str]:
    """An epsilon that fits Torch's output, or moving statistics in training mode."""
    layer = e.layer()
    if layer is None or layer["kind"] != "batch_norm":
        return ()
    name = layer["name"]
    x = np.asarray(e.torch[f"training/{name}/input"], dtype=np.float64)
    _, found = e.both(f"training/{name}/output")
    gamma, beta = _affine_of(e, name)
    axes = tuple(range(x.ndim - 1))
    moving_mean, moving_variance = (
        np.asarray(e.torch[f"initial/{name}/moving_{part}"]) for part in ("mean", "variance")
    )
    hypotheses: tuple[tuple[str, Array, Array], ...] = (
        ("bn-epsilon", x.mean(axes), x.var(axes)),
        ("train-mode", moving_mean, moving_variance),
    )
    for convention, mean, variance in hypotheses:
        centred = gamma * (x - mean)
        shifted = found - beta
        # Where rounding weighs least: the sample farthest from the mean, per channel.
        far = np.abs(centred).reshape(-1, x.shape[-1]).argmax(axis=0)
        columns = np.arange(x.shape[-1])
        pick = [part.reshape(-1, x.shape[-1])[far, columns] for part in (centred, shifted)]
        with np.errstate(divide="ignore", invalid="ignore"):
            # A channel that is all zeros says nothing.
            epsilon = float(np.nanmedian((pick[0] / pick[1]) ** 2 - variance))
            predicted = centred / np.sqrt(variance + epsilon) + beta
        if epsilon > 0 and e.close(predicted, found):
            return (convention,)
    return ()


def _affine_of(e: Evidence, name: str) -> tuple[Array, Array]:
    x = e.keras[f"training/{name}/input"]
    parts = (("gamma", np.ones(x.shape[-1])), ("beta", np.zeros(x.shape[-1])))
    gamma, beta = (np.asarray(e.keras.get(f"initial/{name}/{p}", other)) for p, other in parts)
    return gamma, beta


def _loss_reduction(e: Evidence) -> Sequence[str]:
    keras, torch = e.both("step/1/loss")
    samples = len(e.keras["step/1/data/x"])
    return ("loss-reduction",) if e.close(keras * samples, torch) else ()


def _single_bias(e: Evidence) -> Sequence[str]:
    layer = e.layer()
    if layer is None or layer["kind"] != "lstm" or e.check.step != 1:
        return ()
    keras, torch = e.both(f"step/1/slots/{layer['name']}/bias/velocity")
    return ("lstm-single-bias",) if e.close(2 * keras, torch) and keras.any() else ()


def _default_learning_rate(e: Evidence) -> Sequence[str]:
    """The first velocity is minus the learning rate times the gradient."""
    if e.check.step != 1:
        return ()
    rates = []
    for side in (e.keras, e.torch):
        keys = [key for key in side if key.startswith("gradient/")]
        slope = np.concatenate([np.asarray(side[key], dtype=np.float64).ravel() for key in keys])
        slots = [f"{key.replace('gradient', 'step/1/slots', 1)}/velocity" for key in keys]
        moved = np.concatenate([np.asarray(side[key], dtype=np.float64).ravel() for key in slots])
        rates.append(-float(moved @ slope / (slope @ slope)))
    default = abs(rates[1] / _TORCH_LEARNING_RATE - 1.0) < 1e-6 < abs(rates[1] / rates[0] - 1.0)
    return ("sgd-default-learning-rate",) if default else ()


def _momentum_float32(e: Evidence) -> Sequence[str]:
    """From the second step on, velocities differ by a rounding error times the one before."""
    if e.check.step != 2:
        return ()
    keys = [key for key in e.keras if key.startswith("step/2/slots/") and key.endswith("/velocity")]
    apart = np.concatenate([np.subtract(*e.both(key)).ravel() for key in keys])
    before = np.concatenate([e.both(key.replace("step/2", "step/1"))[0].ravel() for key in keys])
    share = float(apart @ before / (before @ before))
    fits = np.abs(apart - share * before).max() <= 1e-2 * np.abs(apart).max()
    return ("sgd-momentum-float32",) if fits and abs(share) <= np.finfo(np.float32).eps / 2 else ()


def _moving_statistics(e: Evidence) -> Sequence[str]:
    """A decay fitted to the moving mean, and the variance tracked with ÷ n or ÷ (n − 1)."""
    layer = e.layer()
    if layer is None or e.check.step != 1:
        return ()
    update = statistics_update(e.torch, layer["name"])
    decay, expected = update.decay, statistics_update(e.keras, layer["name"]).decay
    found = np.asarray(e.torch[f"step/1/statistics/{layer['name']}/moving_variance"])
    # In float32 both may hold to rounding: the better one counts.
    unbiased = min((False, True), key=lambda u: e.misfit(update.variance(decay, unbiased=u), found))
    if not e.close(update.variance(decay, unbiased=unbiased), found):
        return ()
    names = ("bn-biased-variance",) if unbiased else ()
    equal = 1e-4 if e.single else 1e-6
    if abs(decay - expected) <= equal:
        return names
    if abs(decay - (1.0 - expected)) <= equal:
        return ("bn-momentum-copied", *names)
    # Updated twice, or never: bugs, and no convention.
    known_bug = min(abs(decay - expected**2), abs(decay - 1.0)) <= equal
    return () if known_bug else ("bn-momentum", *names)


def _evaluated_while_training(e: Evidence) -> Sequence[str]:
    """Moving statistics move although weights do not, and Torch's test curve is the batch's."""
    moving = e.check.path.endswith(("/moving_mean", "/moving_variance"))
    if e.histories is None or not moving:
        return ()
    torch = e.histories["torch"]
    fits = list(torch["test_accuracy"]) == list(torch["batch_statistics_test_accuracy"])
    return ("eval-mode",) if fits else ()


def _epoch_metrics(e: Evidence) -> Sequence[str]:
    """The mean of the steps' losses, each step weighing the same whatever its size.

    It differs from the mean over samples by the short batch's deviation, times the weight that the
    short batch gets too much. A loss that deviates by more than three times itself is another bug.
    """
    if e.histories is None or e.plans is None or e.check.path != "running_train_loss":
        return ()
    first = e.plans["keras"][0]
    samples = (first >= 0).sum(axis=1)
    excess = abs(1.0 / len(samples) - samples[-1] / samples.sum())
    keras, torch = (
        np.array(e.histories[name]["running_train_loss"], dtype=np.float64)
        for name in ("keras", "torch")
    )
    return ("epoch-metrics",) if (np.abs(torch - keras) <= 3.0 * excess * keras).all() else ()


_EXPLANATIONS: Mapping[int, Sequence[Explanation]] = {
    1: (_affine,),
    2: (_plan,),
    3: (_forget_bias, _kernel_layout, _initializers),
    4: (_batch_first, _flatten_order, _batch_norm_forward),
    5: (_loss_reduction,),
    7: (_single_bias, _default_learning_rate, _momentum_float32),
    8: (_moving_statistics,),
    10: (_evaluated_while_training, _epoch_metrics),
}
