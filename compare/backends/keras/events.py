"""Curves for TensorBoard, written by Keras' own callback."""

from __future__ import annotations

from collections.abc import Mapping

import keras


class EventLog:
    """The curves of one run: `keras.callbacks.TensorBoard`, called by hand once per epoch.

    As a callback of `model.fit` it would be called at every batch, and write what Keras knows under
    Keras' names. Called by hand it writes what it is given, when it is given.
    """

    def __init__(self, model: keras.Model, folder: str) -> None:
        self._callback = _ByTag(folder, write_graph=False)
        self._callback.set_model(model)
        self._callback.on_train_begin()

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        """See `protocol.EventLog`."""
        self._callback.on_epoch_end(epoch, dict(values))

    def close(self) -> None:
        """See `protocol.EventLog`."""
        self._callback.on_train_end()


class _ByTag(keras.callbacks.TensorBoard):
    """Writes to `log_dir` itself, not to its `train`, and names as they are, without `epoch_`."""

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._train_dir = self.log_dir

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        with self._train_writer.as_default():
            for tag, value in (logs or {}).items():
                self.summary.scalar(tag, value, step=epoch)
        self._train_writer.flush()
