"""What explains weights or slots that differ after a step although gradients agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compare.parity.explain.evidence import Array, Evidence, statistics_update


def moving_statistics(e: Evidence) -> Sequence[str]:
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


def evaluated_while_training(e: Evidence) -> Sequence[str]:
    """Moving statistics move although weights do not, and Torch's test curve is the batch's."""
    moving = e.check.path.endswith(("/moving_mean", "/moving_variance"))
    if e.histories is None or not moving:
        return ()
    torch = e.histories["torch"]
    fits = list(torch["test_accuracy"]) == list(torch["batch_statistics_test_accuracy"])
    return ("eval-mode",) if fits else ()


def epoch_metrics(e: Evidence) -> Sequence[str]:
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


def share(of: Array, what: Array) -> float:
    """How much of one vector there is in another.

    Args:
        of: (n,).
        what: (n,), not zero.
    """
    return float(of @ what / (what @ what))


def solved(columns: Sequence[Array], target: Array) -> list[float]:
    """What columns must be multiplied by to add up to a target, in the sense of least squares.

    Args:
        columns: Each (n,); they may differ by many orders of magnitude.
        target: (n,).
    """
    scales = [float(np.abs(column).max()) or 1.0 for column in columns]
    matrix = np.stack([c / s for c, s in zip(columns, scales, strict=True)], axis=1)
    found = np.linalg.lstsq(matrix, target, rcond=None)[0]
    return [float(x / s) for x, s in zip(found, scales, strict=True)]


def single_bias(e: Evidence) -> Sequence[str]:
    """The bias of a recurrent layer moves twice as far in Torch."""
    layer = e.layer()
    if layer is None or e.check.step != 1:
        return ()
    if layer["kind"].removeprefix("bidirectional_") not in ("lstm", "simple_rnn"):
        return ()
    start = f"step/1/weights/{layer['name']}/"
    for key in e.keras:
        if key.startswith(start) and key.endswith("bias"):
            before, after = e.both(key.replace("step/1/weights", "initial", 1)), e.both(key)
            keras, torch = (b - a for b, a in zip(before, after, strict=True))
            if keras.any() and e.close(before[1] - 2 * keras, before[1] - torch):
                return ("lstm-single-bias",)
    return ()


def sparse_gradients(e: Evidence) -> Sequence[str]:
    """Keras' second moment of an embedding is the sum of the squares of every occurrence."""
    layer = e.layer()
    if e.check.step != 1 or layer is None or layer["kind"] != "embedding":
        return ()
    name = layer["name"]
    tokens = np.asarray(e.keras[f"training/{name}/input"]).ravel().astype(int)
    each = e.both(f"backward/{name}/output")[0].reshape(len(tokens), -1)
    keras, torch = e.both(f"step/1/slots/{name}/embeddings/second_moment")
    dense = e.both(f"gradient/{name}/embeddings")[0] ** 2
    squares = np.zeros_like(keras)
    np.add.at(squares, tokens, each**2)
    kept = share(torch.ravel(), dense.ravel())
    scale = float(np.abs(keras).max())
    ours, theirs = (
        np.abs(predicted * kept - found).max() <= 1e-6 * scale
        for predicted, found in ((squares, keras), (dense, torch))
    )
    return ("sparse-gradients",) if ours and theirs else ()


def momentum_float32(e: Evidence) -> Sequence[str]:
    """From the second step on, velocities differ by a rounding error times the one before."""
    keys = [key for key in e.keras if key.startswith("step/2/slots/") and key.endswith("/velocity")]
    if e.check.step != 2 or not keys:
        return ()
    apart = np.concatenate([np.subtract(*e.both(key)).ravel() for key in keys])
    before = np.concatenate([e.both(key.replace("step/2", "step/1"))[0].ravel() for key in keys])
    part = share(apart, before)
    fits = np.abs(apart - part * before).max() <= 1e-2 * np.abs(apart).max()
    return ("sgd-momentum-float32",) if fits and abs(part) <= np.finfo(np.float32).eps / 2 else ()


def schedule(e: Evidence) -> Sequence[str]:
    """The second step differs from Keras' by its rate alone; the first did not.

    With momentum a step is `kept · first + rate · slope`: the first step's share is not scaled.
    """
    if e.check.step != 2:
        return ()
    keys = [key for key in e.keras if key.startswith("step/2/weights/")]

    def at(start: str) -> Array:
        found = (e.both(key.replace("step/2/weights", start, 1)) for key in keys)
        return np.concatenate([np.stack(pair).reshape(2, -1) for pair in found], axis=1)

    weights = [at(start) for start in ("initial", "step/1/weights", "step/2/weights")]
    first, (keras, torch) = (weights[0] - weights[1])[0], weights[1] - weights[2]
    rate, kept = solved([keras, first], torch)
    error = np.abs(rate * keras + kept * first - torch).max()
    unit = np.finfo(np.float32 if e.single else np.float64).eps
    holds = error <= 16 * unit * np.abs(weights[0]).max() + 1e-9 * np.abs(torch).max()
    if not holds or abs(rate - 1.0) <= 1e-10:
        return ()
    return ("learning-rate-schedule",) if -1e-6 <= kept / (1.0 - rate) < 1.0 else ()
