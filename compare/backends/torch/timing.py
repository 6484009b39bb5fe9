"""`Trainer.fit` under a clock: as a user writes it, tuned, and beside it the floor."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from bn_torch.data import channels_first
from bn_torch.module import BinaryClassifier
from compare.backends.floor import time_floor
from compare.backends.torch import build
from compare.data import Array

CONFIGURATIONS = {
    "idiomatic": "idiomatic",
    "floor": "floor",
    "no logger, no checkpoints": "tuned",
    "barebones": "tuned",
    "torch.compile": "tuned",
    "validation": "tuned",
    "validation in one batch": "tuned",
}
"""What can be timed → which kind it is; the floor is a bare loop over slices of tensors."""

clock = time.perf_counter


def configurations() -> dict[str, str]:
    """What `time_fit` can time → its kind: `"idiomatic"`, `"floor"` or `"tuned"`."""
    return dict(CONFIGURATIONS)


def time_fit(
    handle: BinaryClassifier,
    data: Mapping[str, tuple[Array, Array]],
    *,
    configuration: str,
    epochs: int,
    batch_size: int,
) -> dict[str, Any]:
    """Train once; note when the first step and every epoch ended."""
    halves = {name: (channels_first(x), y) for name, (x, y) in data.items()}
    if CONFIGURATIONS[configuration] == "floor":
        handle.to(build.device())
        floor = partial(train, handle, halves["train"], batch_size=batch_size)
        return time_floor(floor, len(halves["train"][0]), epochs=epochs, clock=clock)
    if configuration == "torch.compile":
        handle.model.compile()
    train_loader, test_loader = _loaders(halves, configuration, batch_size)
    stamps = _Stamps()
    with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch, warnings.catch_warnings():
        # Lightning advises on workers and logging intervals in every fit; none of it is news here.
        warnings.simplefilter("ignore")
        trainer = L.Trainer(
            max_epochs=epochs,
            accelerator="gpu" if build.device().type == "cuda" else "cpu",
            devices=1,
            precision=build.precision(),
            callbacks=[stamps],
            default_root_dir=scratch,
            **_trainer_options(configuration, scratch),
        )
        handle.train()
        stamps.start = clock()
        trainer.fit(handle, train_loader, test_loader)
    note = f"logger={type(trainer.logger).__name__}" if trainer.logger else ""
    return {"first_step": stamps.first_step, "epoch_ends": stamps.epoch_ends, "note": note}


def _loaders(
    halves: Mapping[str, tuple[Array, Array]], configuration: str, batch_size: int
) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
    """For training, and for validation where the configuration has one."""
    datasets = {
        name: TensorDataset(torch.from_numpy(x), torch.from_numpy(y).unsqueeze(1))
        for name, (x, y) in halves.items()
    }
    train_loader = DataLoader(datasets["train"], batch_size=batch_size, shuffle=True)
    if not configuration.startswith("validation"):
        return train_loader, None
    whole = configuration == "validation in one batch"
    size = len(datasets["test"]) if whole else batch_size
    return train_loader, DataLoader(datasets["test"], batch_size=size)


def _trainer_options(configuration: str, scratch: str) -> dict[str, Any]:
    if configuration == "barebones":
        return {"barebones": True}
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    if configuration == "no logger, no checkpoints":
        quiet |= {"logger": False, "enable_checkpointing": False}
    else:
        # Where tensorboard is installed, Lightning would choose it, and that imports TensorFlow.
        quiet["logger"] = CSVLogger(scratch)
    return quiet


class _Stamps(L.Callback):
    """Takes timestamps."""

    def __init__(self) -> None:
        self.start = 0.0
        self.first_step: float | None = None
        self.epoch_ends: list[float] = []

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        if self.first_step is None:
            self.first_step = self._elapsed()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.epoch_ends.append(self._elapsed())

    def _elapsed(self) -> float:
        build.wait()
        return clock() - self.start


def train(
    module: BinaryClassifier,
    data: tuple[Array, Array],
    *,
    orders: NDArray[np.int64],
    batch_size: int,
    on_epoch: Callable[[float, float], None],
) -> None:
    """Train as `Trainer.fit` does, in a loop over slices of tensors.

    The same loss, updates, running statistics and running metrics; no Trainer, no DataLoader, no
    hooks and no logging between two steps.

    Args:
        module: Any `BinaryClassifier`; it trains where its parameters are.
        data: Samples in Torch's layout, (n, …), and labels, (n,), in the module's dtype.
        orders: The order of the samples in every epoch, (epochs, n).
        batch_size: Samples per batch; a short last batch is kept.
        on_epoch: Called after every epoch with the running training loss and accuracy.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    device = parameters[0].device
    rates = module.hparams["learning_rate"], module.hparams["momentum"]
    optimizer = torch.optim.SGD(parameters, lr=rates[0], momentum=rates[1], foreach=True)
    x, y = (torch.from_numpy(array).to(device) for array in data)
    module.train()
    for order in orders:
        chosen = torch.from_numpy(order).to(device)
        batches = zip(
            x[chosen].split(batch_size), y[chosen].unsqueeze(1).split(batch_size), strict=True
        )
        sums = torch.zeros(2, device=device)
        for batch in batches:
            sums += _step(module.model, optimizer, *batch)
        loss, accuracy = (sums / len(y)).tolist()
        on_epoch(loss, accuracy)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    """One step; the summed loss and the hits of its batch, (2,)."""
    optimizer.zero_grad()
    logits = model(x)
    loss = F.binary_cross_entropy_with_logits(logits, y)
    loss.backward()
    optimizer.step()
    hits = ((logits.detach() > 0) == (y > 0.5)).sum()
    return torch.stack([loss.detach() * len(y), hits.to(loss.dtype)])
