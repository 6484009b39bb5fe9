"""One step as a user takes it: `model.fit` on one batch, and nothing that looks on."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import keras

from compare.backends.keras import steps
from compare.backends.keras.optimizers import Optimizers
from compare.backends.keras.preserve_state import as_found
from compare.backends.keras.trace import raising, write_step
from compare.backends.protocol import Sink
from compare.backends.structures import Structure, Weighted, leaves, without_weights


def real_step(model: keras.Model, x: Structure, y: Structure, sink: Sink) -> None:
    """See `Framework.real_step`."""
    compiled = steps.needs_compiling(model)
    with as_found(model), raising(), warnings.catch_warnings():
        # `tf.data` says that it does not run eagerly.
        warnings.filterwarnings("ignore", message=".*does not apply to tf.data functions")
        # What was compiled before belongs to the user's own steps; values round as in the trace.
        model.train_function, model.steps_per_execution = None, 1
        model.run_eagerly, model.jit_compile = not compiled, compiled
        after = _AfterStep(model, sink)
        _, first = next(leaves(x))
        with nullcontext() if compiled else steps.eagerly():
            model.fit(
                x,
                without_weights(y),
                sample_weight=y.weights if isinstance(y, Weighted) else None,
                batch_size=len(first),
                epochs=1,
                shuffle=False,
                verbose=0,
                callbacks=[after],
            )


class _AfterStep(keras.callbacks.Callback):
    """Hands over what the step left; the end of `fit` may replace weights by their averages."""

    def __init__(self, model: keras.Model, sink: Sink) -> None:
        super().__init__()
        self._optimizers, self._sink = Optimizers(model), sink

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        write_step(self._sink, 1, self.model, self._optimizers)
