"""Which known conventions explain a divergence.

Each explanation is a hypothesis with a prediction: given what Keras computed, what would Torch have
computed under the convention? It is named only when the prediction holds to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compare.ladder import Check
from compare.traces import Layer, Trace

_TORCH_LEARNING_RATE = 1e-3
"""What `torch.optim.SGD` takes where nobody says otherwise."""

Plans = Mapping[str, NDArray[np.int64]]
Histories = Mapping[str, Mapping[str, Sequence[float | None]]]
"""Framework → metric → one value per epoch, as in a record."""

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Evidence:
    """All that an explanation may look at."""

    check: Check
    keras: Trace
    torch: Trace
    plans: Plans | None
    histories: Histories | None

    def layer(self) -> Layer | None:
        """The layer to blame, as Keras describes it."""
        found = (layer for layer in self.keras.layers if layer["name"] == self.check.layer)
        return next(found, None)

    def both(self, key: str) -> tuple[Array, Array]:
        """An array of both sides, in float64."""
        return (
            np.asarray(self.keras[key], dtype=np.float64),
            np.asarray(self.torch[key], dtype=np.float64),
        )

    def close(self, predicted: Array, found: Array) -> bool:
        """Whether a prediction holds, to the rounding of the trace's dtype."""
        if predicted.shape != found.shape or not np.isfinite(predicted).all():
            return False
        single = self.keras["evaluation/output"].dtype == np.float32
        scale = max(1.0, float(np.abs(predicted).max(initial=0.0)))
        return bool(
            np.abs(predicted - found).max(initial=0.0) <= (1e-4 if single else 1e-11) * scale
        )


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
            names = tuple(explanation(evidence))
        except KeyError:  # One side lacks an array that the hypothesis is about.
            continue
        if names:
            return names
    return ()


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
    decays = [update.decay, statistics_update(e.keras, layer["name"]).decay]
    found = np.asarray(e.torch[f"step/1/statistics/{layer['name']}/moving_variance"])
    for unbiased in (False, True):
        if e.close(update.variance(update.decay, unbiased=unbiased), found):
            names = ("bn-biased-variance",) if unbiased else ()
            if abs(decays[0] - decays[1]) > 1e-6:
                copied = abs(decays[0] - (1.0 - decays[1])) < 1e-6
                # Updated twice, or never: bugs, and no convention.
                if not copied and min(abs(decays[0] - d) for d in (decays[1] ** 2, 1.0)) < 1e-6:
                    return ()
                return ("bn-momentum-copied" if copied else "bn-momentum", *names)
            return names
    return ()


@dataclass(frozen=True)
class StatisticsUpdate:
    """What the first step did to a batch norm's moving statistics.

    Attributes:
        decay: Share of the old statistics that was kept, fitted to the moving mean.
        before: Moving variance before the step.
        batch: Biased variance of the batch.
        n: Values per channel in the batch.
    """

    decay: float
    before: Array
    batch: Array
    n: int

    def variance(self, decay: float, *, unbiased: bool) -> Array:
        """The moving variance after the step, under a decay and a way of counting."""
        factor = self.n / (self.n - 1) if unbiased else 1.0
        return decay * self.before + (1.0 - decay) * factor * self.batch


def statistics_update(trace: Trace, name: str) -> StatisticsUpdate:
    """Read the first step's update of a batch norm's moving statistics off a trace."""
    x = np.asarray(trace[f"training/{name}/input"], dtype=np.float64)
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    old = np.asarray(trace[f"initial/{name}/moving_mean"], dtype=np.float64) - mean
    new = np.asarray(trace[f"step/1/statistics/{name}/moving_mean"], dtype=np.float64) - mean
    return StatisticsUpdate(
        decay=float(new @ old / (old @ old)),
        before=np.asarray(trace[f"initial/{name}/moving_variance"], dtype=np.float64),
        batch=x.var(axes),
        n=x.size // x.shape[-1],
    )


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
