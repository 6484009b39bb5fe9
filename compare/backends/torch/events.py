"""Curves for TensorBoard, written by Lightning's own logger."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from lightning.pytorch.loggers import TensorBoardLogger


class EventLog:
    """The curves of one run: `TensorBoardLogger`, called by hand once per epoch.

    As the logger of a `Trainer` it would write at every step that Lightning counts, and a table of
    hyperparameters. Called by hand it writes what it is given, when it is given.

    Args:
        folder: Where the event file goes.
    """

    def __init__(self, folder: str) -> None:
        _leave_tensorflow_out()
        path = Path(folder)
        self._logger = TensorBoardLogger(
            path.parent, name="", version=path.name, default_hp_metric=False
        )

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write tag → value at an epoch; they are on disk when it returns."""
        self._logger.log_metrics(dict(values), step=epoch)
        self._logger.experiment.flush()

    def close(self) -> None:
        """Close the event file."""
        self._logger.experiment.close()


def _leave_tensorflow_out() -> None:
    """Have `tensorboard` write files by itself.

    It would import TensorFlow where that is installed: seconds, threads and memory in a process
    that is Torch's. A module of this name is how it is told not to (`tensorboard/compat`).
    """
    if "tensorflow" not in sys.modules:
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
