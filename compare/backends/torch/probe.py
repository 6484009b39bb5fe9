"""What any Torch module computes on the way: one trace of a few steps of a real Trainer.

A trace names arrays alike for every framework (see `compare.traces`), in Keras' layout. The module
is left as it was found.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from torch import nn
from torch.utils.data import DataLoader

from compare.backends.torch.arrangement import output_to_keras
from compare.backends.torch.as_found import as_found
from compare.backends.torch.describing import structure
from compare.backends.torch.recording import Recording, Sink
from compare.backends.torch.slots import Slots
from compare.backends.torch.structures import call, leaves
from compare.backends.torch.weights import to_numpy, weighted_layers

_STATISTICS = ("moving_mean", "moving_variance")

Back = Callable[[int, Any, Any], tuple[Any, Any]]
"""Step, samples and targets as training got them → both as Keras would have them."""


def trace(
    module: nn.Module,
    root: nn.Module,
    batches: Sequence[tuple[Any, Any]],
    sink: Sink,
    *,
    to_keras: Back = lambda step, x, y: (x, y),
) -> list[dict[str, Any]]:
    """Record a training step per batch, taken by a `Trainer`, and one evaluation.

    Args:
        module: Its `training_step` and `configure_optimizers` are used.
        root: The part whose layers are recorded: `module` itself or a network within.
        batches: Samples and targets of every step, tensors as a loader would yield them. Where the
            targets are None, nothing is trained: a forward pass in training mode is all.
        sink: Receives every array under its name, as soon as it is known.
        to_keras: Puts a batch into Keras' layout, to be recorded.

    Returns:
        The weighted layers in the order in which they ran, see `torch.describing.structure`.
        Where the module raises, the trace ends there and has the error's text as `error`.

    Raises:
        TypeError: No rule is known for a layer with weights of its own.
        ValueError: A lazy layer has no weights yet, or the module optimizes by hand.
    """
    if batches[0][1] is not None and not getattr(module, "automatic_optimization", True):
        raise ValueError(
            f"{type(module).__name__} optimizes by hand (automatic_optimization = False), which "
            "cannot be followed: return the loss from training_step and let the Trainer step"
        )
    with as_found(module):
        if not module.training:
            module.train()  # What every training loop does first; a frozen part stays in eval().
        recorder = _Recorder(root, sink, to_keras)
        recorder.write_weights("initial")
        try:
            if batches[0][1] is None:
                recorder.forward(module, batches[0][0])
            else:
                _fit(module, batches, recorder)
            _evaluate(module, root, batches[0][0], recorder)
        # Whatever a port raises is a finding, told with what came first.
        except Exception as error:
            recorder.stop()
            sink("error", np.array(f"{type(error).__name__}: {error}"))
        return structure(root, recorder.recording)


def _evaluate(module: nn.Module, root: nn.Module, x: Any, recorder: _Recorder) -> None:
    module.eval()
    samples = recorder.recording.times.samples
    recording = Recording(root, recorder.sink, "evaluation", samples=samples)
    with torch.no_grad(), recording.watching():
        output = call(module, x)
    output = output_to_keras(output, recording)
    for name, leaf in leaves(output, "prediction"):
        recorder.sink(name, to_numpy(torch.as_tensor(leaf)))


def _fit(module: L.LightningModule, batches: Sequence[Any], recorder: _Recorder) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
        warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
        # A frozen part is meant to be in eval() here, and is compared as such.
        warnings.filterwarnings("ignore", message=".*in eval mode.*")
        # An error of its own, below.
        warnings.filterwarnings("ignore", message=".*returned `None`.*")
        # Batches of several tensors have several sizes to infer a mean of metrics from.
        warnings.filterwarnings("ignore", message=".*infer the `batch_size`.*")
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=1,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[recorder],
        )
        # The default would turn tuples into lists.
        loader = DataLoader(list(batches), batch_size=None, collate_fn=lambda batch: batch)
        trainer.fit(module, loader)
    if recorder.steps < len(batches):
        raise RuntimeError(f"training stopped after {recorder.steps} of {len(batches)} steps")


class _Recorder(L.Callback):
    """Writes what a step computes, when it has been computed."""

    def __init__(self, root: nn.Module, sink: Sink, to_keras: Back) -> None:
        self.root, self.sink, self.to_keras = root, sink, to_keras
        self.recording = Recording(root)
        self.steps = 0
        self._slots = Slots()
        self._watching = ExitStack()
        self._differentiated = False

    def forward(self, module: nn.Module, x: Any) -> None:
        """Record a forward pass in training mode, and what it does to moving statistics."""
        self._data(1, x, None)
        self._watching.enter_context(self.recording.watching())
        with torch.no_grad():
            output = output_to_keras(call(module, x), self.recording)
        self.stop()
        for name, leaf in leaves(output, "step/1/prediction"):
            self.sink(name, to_numpy(torch.as_tensor(leaf)))
        self.write_weights("step/1")

    def _data(self, step: int, x: Any, y: Any) -> None:
        x, y = self.to_keras(step, x, y)
        if step == 1:
            samples = next((len(leaf) for _, leaf in leaves(x)), None)
            self.recording = Recording(self.root, self.sink, samples=samples)
        for part, arrays in (("x", x), ("y", y)):
            for name, leaf in leaves(arrays, f"step/{step}/data/{part}"):
                self.sink(name, to_numpy(torch.as_tensor(leaf)))

    def write_weights(self, prefix: str) -> None:
        """Hand over all weights and statistics as they are now."""
        for layer in weighted_layers(self.root).values():
            for name, tensor in layer.tensors().items():
                group = "statistics" if name.endswith(_STATISTICS) else "weights"
                under = prefix if prefix == "initial" else f"{prefix}/{group}"
                self.sink(f"{under}/{layer.name}/{name}", to_numpy(tensor))

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        # What a module brings along may change the steps, but not end them or write files.
        aside = (Checkpoint, EarlyStopping)
        trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, aside)]

    def on_train_start(self, trainer: Any, module: Any) -> None:
        # It would wait, at the end of the epoch, for a metric that nobody measures here.
        trainer.strategy.lr_scheduler_configs = [
            config for config in trainer.lr_scheduler_configs if not config.reduce_on_plateau
        ]

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self._data(batch_idx + 1, *batch)
        if batch_idx == 0:
            self._watching.enter_context(self.recording.watching())

    def on_before_backward(self, trainer: Any, module: Any, loss: Any) -> None:
        # Whatever is computed again on the way back, as by checkpointing, has been noted.
        self.stop()

    def on_after_backward(self, trainer: Any, module: Any) -> None:
        if self._differentiated:
            return
        self._differentiated = True
        self.recording.finish()
        for layer in weighted_layers(self.root).values():
            for name, gradient in layer.tensors(lambda p: p.grad, alone=True).items():
                self.sink(f"gradient/{layer.name}/{name}", to_numpy(gradient))

    def stop(self) -> None:
        """Look no longer at what passes."""
        self._watching.close()

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self._slots.note_rates(optimizer)

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not outputs or outputs.get("loss") is None:
            raise ValueError("training_step returned no loss")
        self.steps = batch_idx + 1
        self.sink(f"step/{self.steps}/loss", to_numpy(outputs["loss"]))
        self.write_weights(f"step/{self.steps}")
        for optimizer in trainer.optimizers:
            for name, value in self._slots.read(self.root, optimizer):
                self.sink(f"step/{self.steps}/slots/{name}", value)
