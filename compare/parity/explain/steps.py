"""What explains weights or slots that differ after a step although gradients agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compare.parity.explain.evidence import Array, Evidence
from compare.parity.explain.fitting import share, solved


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
