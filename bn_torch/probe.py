"""What any Torch module computes on the way: one trace of a few steps of a real Trainer.

A trace names arrays alike for every framework (see `compare.traces`), in Keras' layout. The module
is left as it was found.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bn_torch import weights
from bn_torch.recording import Recording, Sink

_STATISTICS = ("moving_mean", "moving_variance")
_SLOTS: dict[str, tuple[str, Callable[[Tensor, dict[str, Any]], Tensor]]] = {
    # Keras keeps the learning rate within the velocity, and descends by adding it.
    "momentum_buffer": ("velocity", lambda buffer, group: -group["lr"] * buffer),
    "exp_avg": ("first_moment", lambda buffer, group: buffer),
    "exp_avg_sq": ("second_moment", lambda buffer, group: buffer),
}


@dataclass(frozen=True)
class Arrangement:
    """How samples get from Keras' layout to a module's, and back for the record."""

    to_torch: Callable[[np.ndarray], np.ndarray]
    to_keras: Callable[[Tensor], Tensor]


def arrangement(module: nn.Module, x: np.ndarray) -> Arrangement:
    """Channels on axis 1 if the first weighted layer is a convolution or norm over space or time.

    Args:
        module: Its weighted layers are looked at in the order in which it holds them.
        x: Samples in Keras' layout.
    """
    first = next(iter(weights.weighted_layers(module).values()), None)
    if first is not None and weights.kind(first) in ("conv", "batch_norm") and x.ndim > 2:
        return Arrangement(lambda x: np.moveaxis(x, -1, 1), lambda x: x.movedim(1, -1))
    return Arrangement(lambda x: x, lambda x: x)


class Objective(L.LightningModule):
    """A plain module with the loss and the optimizer that would train it.

    Args:
        model: Any module.
        loss: `loss(output, target)` → a scalar.
        optimizer: `optimizer(parameters)` → a Torch optimizer.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer],
    ) -> None:
        super().__init__()
        self.model, self.loss, self.optimizer = model, loss, optimizer

    def forward(self, x: Any) -> Any:
        return self.model(x)

    def training_step(self, batch: tuple[Any, Any], batch_idx: int) -> Tensor:
        x, y = batch
        return self.loss(self.model(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.model.parameters())


def trace(
    module: nn.Module,
    root: nn.Module,
    batches: Sequence[tuple[Any, Any]],
    sink: Sink,
    *,
    to_keras: Callable[[Tensor], Tensor] = lambda x: x,
) -> list[dict[str, Any]]:
    """Record a training step per batch, taken by a `Trainer`, and one evaluation.

    Args:
        module: Its `training_step` and `configure_optimizers` are used.
        root: The part whose layers are recorded: `module` itself or a network within.
        batches: Samples and targets of every step, tensors as a loader would yield them. Where the
            targets are None, nothing is trained: a forward pass in training mode is all.
        sink: Receives every array under its name.
        to_keras: Puts samples into Keras' layout, to be recorded.

    Returns:
        The weighted layers in the order in which they ran, each with `name`, `kind`, `tensors`
        (name → shape) and `trained` (number of trained values). Where the module raises, the trace
        ends there and has the error's text as `error`.

    Raises:
        TypeError: No rule is known for a layer with weights of its own.
    """
    with _as_found(module):
        if not module.training:
            module.train()  # What every training loop does first; a frozen part stays in eval().
        for name, array in weights.read_weights(root).items():
            sink(f"initial/{name}", array)
        recorder = _Recorder(root, sink, to_keras)
        try:
            if batches[0][1] is None:
                recorder.forward(module, batches[0][0])
            else:
                _fit(module, batches, recorder)
            _evaluate(module, root, batches[0][0], sink)
        # Whatever a port raises is a finding, told with what came first.
        except Exception as error:
            recorder.stop()
            sink("error", np.array(f"{type(error).__name__}: {error}"))
        return _structure(root, recorder.recording.order)


def _evaluate(module: nn.Module, root: nn.Module, x: Any, sink: Sink) -> None:
    module.eval()
    recording = Recording(root)
    with torch.no_grad(), recording.watching():
        output = module(x)
    recording.forward(sink, "evaluation")
    sink("evaluation/output", output.numpy())


def _fit(module: L.LightningModule, batches: Sequence[Any], recorder: L.Callback) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
        warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
        # A frozen part is meant to be in eval() here, and is compared as such.
        warnings.filterwarnings("ignore", message=".*in eval mode.*")
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
        trainer.fit(module, DataLoader(list(batches), batch_size=None))


class _Recorder(L.Callback):
    """Writes what a step computes, when it has been computed."""

    def __init__(self, root: nn.Module, sink: Sink, to_keras: Callable[[Tensor], Tensor]) -> None:
        self.root, self.sink, self.to_keras = root, sink, to_keras
        self.recording = Recording(root)
        self._watching = ExitStack()
        self._first = False

    def forward(self, module: nn.Module, x: Any) -> None:
        """Record a forward pass in training mode, and what it does to moving statistics."""
        self.sink("step/1/data/x", self.to_keras(x).numpy())
        self._first = True
        self._watching.enter_context(self.recording.watching())
        with torch.no_grad():
            module(x)
        self.stop()
        self._weights(1)

    def _weights(self, step: int) -> None:
        for name, array in weights.read_weights(self.root).items():
            group = "statistics" if name.endswith(_STATISTICS) else "weights"
            self.sink(f"step/{step}/{group}/{name}", array)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.sink(f"step/{batch_idx + 1}/data/x", self.to_keras(x).numpy())
        self.sink(f"step/{batch_idx + 1}/data/y", y.numpy())
        if batch_idx == 0:
            self._first = True
            self._watching.enter_context(self.recording.watching())

    def on_after_backward(self, trainer: Any, module: Any) -> None:
        if not self._first:
            return
        self.stop()
        self.recording.backward(self.sink)
        for name, gradient in weights.named_tensors(self.root, of=lambda p: p.grad).items():
            # Each of an LSTM's two biases receives the gradient of their sum.
            if not name.endswith("/bias_hh"):
                self.sink(f"gradient/{name}", gradient.numpy().copy())

    def stop(self) -> None:
        """Write what passed in the first step, which may have ended with an error."""
        if self._first:
            self._first = False
            self._watching.close()
            self.recording.forward(self.sink, "training")

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = batch_idx + 1
        self.sink(f"step/{step}/loss", outputs["loss"].detach().numpy())
        self._weights(step)
        for optimizer in trainer.optimizers:
            for key, (slot, convert) in _SLOTS.items():
                found = weights.named_tensors(self.root, of=_slot(optimizer, key, convert))
                for name, array in weights.single_bias(found).items():
                    self.sink(f"step/{step}/slots/{name}/{slot}", array)


def _slot(
    optimizer: torch.optim.Optimizer,
    key: str,
    convert: Callable[[Tensor, dict[str, Any]], Tensor],
) -> weights.Of:
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}

    def of(parameter: Tensor) -> Tensor | None:
        value = optimizer.state.get(parameter, {}).get(key)
        return None if value is None else convert(value.detach(), groups[id(parameter)])

    return of


@contextmanager
def _as_found(module: nn.Module) -> Iterator[None]:
    """Put back weights, buffers, gradients, modes, the trainer and the random state."""
    state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    modes = {part: part.training for part in module.modules()}
    gradients = {p: None if p.grad is None else p.grad.clone() for p in module.parameters()}
    trainer = getattr(module, "_trainer", None)
    try:
        with isolate_rng():
            yield
    finally:
        if isinstance(module, L.LightningModule):
            module._trainer = trainer
        module.load_state_dict(state)
        for part, mode in modes.items():
            part.training = mode
        for parameter, gradient in gradients.items():
            parameter.grad = gradient


def _structure(root: nn.Module, order: Sequence[str]) -> list[dict[str, Any]]:
    layers = weights.weighted_layers(root)
    ran = [name for name in order if name in layers]
    return [
        {
            "name": name,
            "kind": weights.kind(layers[name]),
            "tensors": {
                key: list(tensor.shape)
                for key, tensor in weights.tensors(layers[name]).items()
                if key != "bias_hh"
            },
            "trained": sum(p.numel() for p in _trained(layers[name])),
        }
        for name in [*ran, *(n for n in layers if n not in ran)]
    ]


def _trained(layer: nn.Module) -> Iterator[nn.Parameter]:
    """Trained parameters; an LSTM's two biases are one in Keras and count once."""
    for name, parameter in layer.named_parameters(recurse=False):
        if parameter.requires_grad and name != "bias_hh_l0":
            yield parameter
