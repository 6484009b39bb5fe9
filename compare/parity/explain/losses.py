"""What explains a loss or a gradient that differs although the outputs agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy import special

from compare.conventions import Numbers
from compare.parity.explain.evidence import Array, Evidence, double, explains
from compare.trace import Trace

_LARGEST_LOSS = 100.0
"""`BCELoss` clips the logarithms of probabilities there."""

_LOSS = "step/1/loss"


@explains(5)
def _another_mean(e: Evidence) -> Mapping[str, Numbers]:
    """A loss that Torch divides by all values, or by its own δ."""
    keras, torch = e.both(_LOSS)
    settings = e.losses[1]
    kl = settings.get("name") in ("KLDivLoss", "kl_div") and settings["reduction"] != "batchmean"
    classes = _logits(e)[0].shape[-1]
    if kl and e.close(keras / classes, torch):
        return {"kl-batchmean": {}}
    beta, delta = settings.get("divided_by"), e.losses[0].get("delta")
    if beta and beta != 1.0 and beta == delta and e.close(keras / beta, torch):
        return {"huber-delta": {"keras": delta, "torch": beta}}
    return {}


@explains(5)
def _weights(e: Evidence) -> Sequence[str]:
    """Torch divides a weighted cross-entropy by the weights, and Keras by the samples.

    The weights follow from what reaches the logits in Keras: `w (p − y) / n`.
    """
    apart, likely = _cross_entropy(e)
    slopes = [_slope_of_logits(trace) for trace in (e.keras, e.torch)]
    n = len(apart)
    weights = n * (slopes[0] * apart).sum(-1) / (apart**2).sum(-1)
    total = weights.sum()
    each = weights[:, None] * apart
    holds = e.close(each / n, slopes[0]) and e.close(
        np.asarray((weights * likely).mean()), _loss(e, 0)
    )
    holds &= e.close(each / total, slopes[1])
    holds &= e.close(np.asarray((weights * likely).sum() / total), _loss(e, 1))
    if not holds or np.ptp(weights) <= 1e-6 * np.abs(weights).max():
        return ()
    rows = _one_hot(e)
    classes = rows.argmax(-1)
    by_class = all(np.ptp(weights[classes == c]) <= 1e-6 for c in np.unique(classes))
    return ("class-weights",) if by_class else ("sample-weights",)


@explains(5)
def _smoothing(e: Evidence) -> Mapping[str, Numbers]:
    """Labels that are smoothed on one side alone, or otherwise."""
    amounts = [side.get("label_smoothing", 0.0) for side in e.losses]
    if amounts[0] == amounts[1]:
        return {}
    hot, likely = _one_hot(e), special.log_softmax(_logits(e)[0], axis=-1)
    for side, (amount, trace) in enumerate(zip(amounts, (e.keras, e.torch), strict=True)):
        target = hot * (1.0 - amount) + amount / hot.shape[-1]
        slope = (np.exp(likely) - target) / len(hot)
        loss = np.asarray(-(target * likely).sum(-1).mean())
        if not (e.close(loss, _loss(e, side)) and e.close(slope, _slope_of_logits(trace))):
            return {}
    return {"label-smoothing": {"keras": amounts[0], "torch": amounts[1]}}


@explains(5, "nll-probabilities")
def _no_logarithm(e: Evidence) -> bool:
    """Torch's loss is minus the mean of probabilities, or of logits."""
    logits, hot = _logits(e)[0], _one_hot(e)
    values = (special.softmax(logits, axis=-1), logits)
    return any(e.close(np.asarray(-(hot * v).sum(-1).mean()), _loss(e, 1)) for v in values)


def _loss(e: Evidence, side: int) -> Array:
    return e.both(_LOSS)[side]


def _one_hot(e: Evidence) -> Array:
    """Targets of classes, (n, classes)."""
    logits, targets = _logits(e)
    if logits.ndim != 2 or logits.shape[-1] < 2:
        raise ValueError("no classes")
    if targets.shape == logits.shape:
        return targets
    if targets.size != len(logits):
        raise ValueError("other targets")
    return np.asarray(np.eye(logits.shape[-1])[targets.ravel().astype(int)])


def _cross_entropy(e: Evidence) -> tuple[Array, Array]:
    """What reaches the logits of each sample, (n, classes), and its loss, (n,)."""
    hot, likely = _one_hot(e), special.log_softmax(_logits(e)[0], axis=-1)
    return np.exp(likely) - hot, -(hot * likely).sum(-1)


def _slope_of_logits(trace: Trace) -> Array:
    """The gradient of the loss with respect to the last layer's output."""
    ends = [key for key in trace if key.startswith("training/") and key.endswith("/output")]
    return double(trace[ends[-1].replace("training/", "backward/", 1)])


@explains(5, "loss-reduction")
def _reduction(e: Evidence) -> bool:
    """A sum for a mean, over the samples or over the values of a sample."""
    keras, torch = e.both(_LOSS)
    targets = e.keras["step/1/data/y"]
    samples, sizes = len(targets), [targets.size, _logits(e)[0].size]
    factors = {float(samples)}
    for size in sizes:
        factors |= {float(size), size / samples, samples / size, 1.0 / size}
    fits = any(e.close(keras * factor, torch) for factor in factors - {1.0})
    return fits and not e.close(keras, torch)


@explains(5, "cross-entropy-logits")
def _activated_twice(e: Evidence) -> bool:
    """Torch's loss is that of probabilities taken for logits."""
    loss = e.both(_LOSS)[1]
    return any(e.close(predicted, loss) for predicted in _of_probabilities(e))


def _of_probabilities(e: Evidence) -> Iterator[Array]:
    logits, targets = _logits(e)
    if logits.size == targets.size:
        x = special.expit(logits)
        y = targets.reshape(x.shape)
        yield np.asarray((np.maximum(x, 0.0) - x * y + np.log1p(np.exp(-np.abs(x)))).mean())
        if x.ndim == 2:
            yield -(special.log_softmax(special.softmax(logits, -1), -1) * y).sum(-1).mean()
    elif logits.size == targets.size * logits.shape[-1]:
        likely = special.log_softmax(special.softmax(logits, axis=-1), axis=-1)
        rows = targets.ravel().astype(int)
        yield -likely.reshape(len(rows), -1)[np.arange(len(rows)), rows].mean()


@explains(5, "loss-from-logits")
def _clipped(e: Evidence) -> bool:
    """Torch's loss is computed from probabilities that may saturate."""
    logits, targets = _logits(e)
    if logits.size != targets.size:
        return False
    keras, torch = e.both(_LOSS)
    y = targets.reshape(logits.shape)
    p = special.expit(np.asarray(logits, dtype=np.float32 if e.single else np.float64))
    hit, miss = (np.maximum(np.log(q), -_LARGEST_LOSS) for q in (p, 1.0 - p))
    predicted = np.asarray(-(y * hit + (1.0 - y) * miss).mean(), dtype=np.float64)
    return e.close(predicted, torch) and not e.close(keras, torch)


@explains(5, "broadcast-loss")
def _broadcast(e: Evidence) -> bool:
    """Torch's loss compares every prediction with every target."""
    logits, targets = _logits(e)
    if targets.ndim != 1 or logits.shape != (len(targets), 1):
        return False
    loss = e.both(_LOSS)[1]
    return any(
        e.close(np.asarray(measure(outputs - targets).mean()), loss)
        for outputs in (logits, special.expit(logits))
        for measure in (np.square, np.abs)
    )


@explains(5, "regularizers-in-loss")
def _penalties(e: Evidence) -> bool:
    """A penalty on weights that Keras' loss and gradients have, and Torch's have not."""
    keras, torch = e.both(_LOSS)
    total = 0.0
    for key in e.keras:
        if not key.startswith("gradient/"):
            continue
        apart = np.subtract(*e.both(key)).ravel()
        weights = e.both(key.replace("gradient", "initial", 1))[0].ravel()
        slopes = np.stack([weights, np.sign(weights)], axis=-1)
        values = np.array([0.5 * weights @ weights, np.abs(weights).sum()])
        for kept in ([0], [1], [0, 1]):
            shares = np.linalg.lstsq(slopes[:, kept], apart, rcond=None)[0]
            if e.close(slopes[:, kept] @ shares, apart):
                total += float(shares @ values[kept])
                break
        else:
            return False
    return total > 0.0 and e.close(torch + total, keras)


def _logits(e: Evidence) -> tuple[Array, Array]:
    """What the last layer returned, before its activation, and the targets."""
    ends = [key for key in e.keras if key.startswith("training/") and key.endswith("/output")]
    return e.both(ends[-1])[0], e.both("step/1/data/y")[0]


@explains(6, "padding-idx")
def _padding_row(e: Evidence) -> bool:
    """One row of an embedding gets no gradient in Torch."""
    if not e.check.path.startswith("gradient/") or not e.check.path.endswith("/embeddings"):
        return False
    keras, torch = e.failed()
    apart = np.flatnonzero(np.abs(keras - torch).max(axis=1) > 0.0)
    rows = [row for row in apart if not torch[row].any() and keras[row].any()]
    others = np.delete(np.arange(len(keras)), rows)
    return len(rows) == 1 and e.close(keras[others], torch[others])
