"""What explains a loss or a gradient that differs although the outputs agree."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import special

from compare.parity.explain.evidence import Array, Evidence, explains

_LARGEST_LOSS = 100.0
"""`BCELoss` clips the logarithms of probabilities there."""

_LOSS = "step/1/loss"


@explains(5, "loss-reduction")
def _reduction(e: Evidence) -> bool:
    """A sum for a mean, over the samples or over the values of a sample."""
    keras, torch = e.both(_LOSS)
    samples = len(e.keras["step/1/data/x"])
    sizes = [e.keras["step/1/data/y"].size, _logits(e)[0].size]
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
        apart = np.subtract(*e.both(key))
        weights = e.both(key.replace("gradient", "initial", 1))[0]
        for slope, value in ((weights, 0.5 * weights**2), (np.sign(weights), np.abs(weights))):
            share = float((apart * slope).sum() / max((slope**2).sum(), 1e-300))
            if e.close(share * slope, apart):
                total += share * float(value.sum())
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
