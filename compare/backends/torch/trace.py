"""A trace: what a module computes in a few steps of a real `Trainer`, and in one evaluation.

`trace` trains and records, `describe` runs one forward pass, `repeats` two. Arrays are named alike
for every framework (see `compare.trace`) and are in Keras' layout. The module is left as it was
found. What the layers receive and return is recorded by `hooks`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader

from compare.backends.protocol import Batches, Sink
from compare.backends.structures import Structure, leaves
from compare.backends.torch import layouts
from compare.backends.torch.hooks import Recording
from compare.backends.torch.preserve_state import as_found, looking, tensors_as_found
from compare.backends.torch.settings import settings
from compare.backends.torch.slots import learning_rates, rules, slots
from compare.backends.torch.structures import call, tensors, to_numpy
from compare.backends.torch.weights import named_tensors, weighted_layers
from compare.trace import Layer

_STATISTICS = ("moving_mean", "moving_variance")

ToKeras = Callable[[int, Structure, Structure], tuple[Structure, Structure]]
"""Step, samples and targets as training received them → both as Keras would have them."""


def trace(
    module: nn.Module, root: nn.Module, batches: Batches, sink: Sink, *, to_keras: ToKeras
) -> list[Layer]:
    """Record a training step per batch, taken by a `Trainer`, and one evaluation.

    Args:
        module: Its `training_step` and `configure_optimizers` are used.
        root: The part whose layers are recorded: `module` itself or a network within.
        batches: Samples and targets of every step, tensors as a loader would yield them.
        sink: Receives every array under its name.
        to_keras: Puts a batch into Keras' layout, to be recorded.

    Returns:
        The weighted layers in the order in which they ran, see `structure`. Where the module
        raises, the trace ends there and has the error's text as `error`.

    Raises:
        TypeError: No rule is known for a layer with weights of its own.
        ValueError: A lazy layer has no weights yet, or the module optimizes by hand.
    """
    samples, targets = batches[0]
    if targets is not None and not getattr(module, "automatic_optimization", True):
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
            if targets is None:
                recorder.forward(module, samples)
            else:
                _fit(module, batches, recorder)
            _evaluate(module, root, samples, recorder)
        # Whatever a port raises is a finding, reported with what was recorded before it.
        except Exception as error:
            recorder.stop()
            sink("error", np.array(f"{type(error).__name__}: {error}"))
        return structure(root, recorder.recording)


def describe(module: nn.Module, x: Structure) -> list[Layer]:
    """The layers in the order of one forward pass in inference mode; see `structure`."""
    layers = weighted_layers(module)
    modes = {name: layer.module.training for name, layer in layers.items()}
    recording = Recording(module)
    with looking(module), recording.watching():
        try:
            call(module, tensors(x))
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
    # A part in inference mode while the rest trains; a module all in inference mode is not frozen.
    recording.frozen = {name for name, trains in modes.items() if module.training and not trains}
    return structure(module, recording)


def structure(root: nn.Module, recording: Recording) -> list[Layer]:
    """The layers of a module as numbers and strings, see `compare.trace.Layer`.

    Args:
        root: The module.
        recording: What ran in it: those layers come first, in this order.
    """
    layers = weighted_layers(root)
    ran = [name for name in recording.order if name in layers]
    return [
        {
            "name": name,
            "kind": layers[name].kind,
            "tensors": {key: list(t.shape) for key, t in layers[name].tensors().items()},
            "trained": layers[name].trained,
            "settings": settings(layers[name], frozen=name in recording.frozen),
        }
        for name in [*ran, *(n for n in layers if n not in ran)]
    ]


def repeats(
    module: nn.Module, x: Structure, *, to_torch: Callable[[Structure], Structure] | None = None
) -> bool:
    """Whether two forward passes from the same state return the same in training mode, exactly."""
    arranged = to_torch or layouts.of_samples(module, x).to_torch
    outputs: list[list[Tensor]] = []
    with as_found(module), torch.no_grad():
        if not module.training:
            module.train()  # As where it is traced: a frozen part stays in eval().
        try:
            for _ in range(2):
                # What a buffer keeps is no random number.
                with tensors_as_found(module):
                    output = call(module, tensors(arranged(x)))
                    # Copies: the output may be a buffer, which is put back.
                    outputs.append([t.clone() for _, t in leaves(output) if isinstance(t, Tensor)])
        except Exception:
            return True
    return all(
        torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)
        for a, b in zip(*outputs, strict=True)
    )


class Objective(L.LightningModule):
    """Trains a plain module.

    Args:
        model: Any module.
        loss: `loss(output, target)` → a scalar.
        optimizer: `optimizer(parameters)` → a Torch optimizer, or anything else that
            `configure_optimizers` may return.
    """

    def __init__(self, model: nn.Module, loss: Any, optimizer: Any) -> None:
        super().__init__()
        self.model, self.loss, self.optimizer = model, loss, optimizer

    def forward(self, x: Any) -> Any:
        return call(self.model, x)

    def training_step(self, batch: tuple[Any, Any], batch_idx: int) -> Tensor:
        x, y = batch
        loss: Tensor = self.loss(self(x), y)
        return loss

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.model.parameters())


def _fit(module: Any, batches: Batches, recorder: _Recorder) -> None:
    with warnings.catch_warnings():
        for advice in (
            ".*does not have many workers.*",
            ".*LeafSpec.*is deprecated",
            ".*have no `val_dataloader`.*",
            # A frozen part is meant to be in eval() here, and is compared as such.
            ".*in eval mode.*",
            # An error of its own, below.
            ".*returned `None`.*",
            # Batches of several tensors have several sizes to infer a mean of metrics from.
            ".*infer the `batch_size`.*",
        ):
            warnings.filterwarnings("ignore", message=advice)
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
        steps: Any = list(batches)
        loader: Any = DataLoader(steps, batch_size=None, collate_fn=lambda batch: batch)
        trainer.fit(module, loader)
    if recorder.steps < len(batches):
        raise RuntimeError(f"training stopped after {recorder.steps} of {len(batches)} steps")


def _evaluate(module: nn.Module, root: nn.Module, x: Structure, recorder: _Recorder) -> None:
    module.eval()
    samples = recorder.recording.times.samples
    recording = Recording(root, recorder.sink, "evaluation", samples=samples)
    with torch.no_grad(), recording.watching():
        output = call(module, x)
    _hand_over(layouts.output_to_keras(output, recording), "prediction", recorder.sink)


def _hand_over(structure: Structure, name: str, sink: Sink) -> None:
    for path, leaf in leaves(structure, name):
        if leaf is not None:
            sink(path, to_numpy(torch.as_tensor(leaf)))


class _Recorder(L.Callback):
    """Writes what a step computes, when it has been computed."""

    def __init__(self, root: nn.Module, sink: Sink, to_keras: ToKeras) -> None:
        self.root, self.sink, self.to_keras = root, sink, to_keras
        self.recording = Recording(root)
        self.steps = 0
        self._rates: dict[int, list[float]] = {}
        self._watching = ExitStack()
        self._rules: dict[str, str] = {}

    def forward(self, module: nn.Module, x: Structure) -> None:
        """Record a forward pass in training mode, and what it does to moving statistics."""
        self._data(1, x, None)
        self._watching.enter_context(self.recording.watching())
        with torch.no_grad():
            output = layouts.output_to_keras(call(module, x), self.recording)
        self.stop()
        _hand_over(output, "step/1/prediction", self.sink)
        self.write_weights("step/1")

    def _data(self, step: int, x: Structure, y: Structure) -> None:
        x, y = self.to_keras(step, x, y)
        if step == 1:
            samples = next((len(leaf) for _, leaf in leaves(x)), None)
            self.recording = Recording(self.root, self.sink, samples=samples)
        _hand_over(x, f"step/{step}/data/x", self.sink)
        _hand_over(y, f"step/{step}/data/y", self.sink)

    def write_weights(self, prefix: str) -> None:
        """Hand over all weights and statistics as they are now."""
        for layer in weighted_layers(self.root).values():
            for name, values in layer.tensors().items():
                group = "statistics" if name.endswith(_STATISTICS) else "weights"
                under = prefix if prefix == "initial" else f"{prefix}/{group}"
                self.sink(f"{under}/{layer.name}/{name}", to_numpy(values))

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        # What a module brings along may change the steps, but not end them or write files.
        aside = (Checkpoint, EarlyStopping)
        trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, aside)]

    def on_train_start(self, trainer: Any, module: Any) -> None:
        # It would wait, at the end of the epoch, for a metric that nobody measures here.
        trainer.strategy.lr_scheduler_configs = [
            config for config in trainer.lr_scheduler_configs if not config.reduce_on_plateau
        ]
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(self._stepped)

    def _stepped(self, optimizer: Any, *arguments: Any) -> None:
        # Settings may be set within the step, and a schedule changes them after it.
        self._rules |= dict(rules(self.root, [optimizer]))

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self._data(batch_idx + 1, *batch)
        if batch_idx == 0:
            self._watching.enter_context(self.recording.watching())

    def on_before_backward(self, trainer: Any, module: Any, loss: Any) -> None:
        # Whatever is computed again on the way back, as by checkpointing, has been noted.
        self.stop()

    def on_after_backward(self, trainer: Any, module: Any) -> None:
        under = f"step/{self.steps + 1}/gradient" if self.steps else "gradient"
        if not self.steps:
            self.recording.finish()
        for name, gradient in named_tensors(self.root, lambda p: p.grad, alone=True).items():
            self.sink(f"{under}/{name}", to_numpy(gradient))

    def stop(self) -> None:
        """Look no longer at what passes."""
        self._watching.close()

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self._rates[id(optimizer)] = learning_rates(optimizer)

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not outputs or outputs.get("loss") is None:
            raise ValueError("training_step returned no loss")
        self.steps = batch_idx + 1
        self.sink(f"step/{self.steps}/loss", to_numpy(outputs["loss"]))
        self.write_weights(f"step/{self.steps}")
        for optimizer in trainer.optimizers:
            rates = self._rates.get(id(optimizer)) or learning_rates(optimizer)
            for name, value in slots(self.root, optimizer, rates):
                self.sink(f"step/{self.steps}/slots/{name}", value)
        for name, text in self._rules.items():
            self.sink(f"step/{self.steps}/rule/{name}", np.array(text))
        self._rules = {}
