"""What any Torch module computes on the way: one trace of a few steps of a real Trainer.

A trace names arrays alike for every framework (see `compare.trace`), in Keras' layout. The module
is left as it was found.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader

from compare.backends.torch import arrangement
from compare.backends.torch.arrangement import output_to_keras
from compare.backends.torch.hooks import Recording, Sink
from compare.backends.torch.preserve_state import as_found, looking, tensors_as_found
from compare.backends.torch.settings import settings
from compare.backends.torch.structures import call, leaves, mapped, tensor
from compare.backends.torch.weights import named_tensors, to_numpy, weighted_layers


def _velocity(buffer: Tensor, group: dict[str, Any], rate: float) -> Tensor:
    # Keras keeps the learning rate within the velocity. Its SGD descends by adding it, its RMSprop
    # by subtracting.
    return (rate if "alpha" in group else -rate) * buffer


def _itself(buffer: Tensor, group: dict[str, Any], rate: float) -> Tensor:
    return buffer


_SLOTS: dict[str, tuple[str, Callable[[Tensor, dict[str, Any], float], Tensor]]] = {
    "momentum_buffer": ("velocity", _velocity),
    "exp_avg": ("first_moment", _itself),
    "exp_avg_sq": ("second_moment", _itself),
    "max_exp_avg_sq": ("max_second_moment", _itself),
    "square_avg": ("second_moment", _itself),
    "grad_avg": ("average_gradient", _itself),
}


_KNOWN = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)


def _has_keras_slots(optimizer: torch.optim.Optimizer) -> bool:
    """Whether what it keeps is what Keras keeps; one that a user wrote is taken at its names."""
    bases = {cls for cls in type(optimizer).__mro__ if cls.__module__.startswith("torch.optim.")}
    return isinstance(optimizer, _KNOWN) or bases == {torch.optim.Optimizer}


class Slots:
    """Reads the slots of optimizers; learning rates are those that the step was taken with."""

    def __init__(self) -> None:
        self._rates: dict[int, list[float]] = {}

    def note_rates(self, optimizer: torch.optim.Optimizer) -> None:
        """Call it before the step: a schedule changes the rates after it."""
        self._rates[id(optimizer)] = [float(group["lr"]) for group in optimizer.param_groups]

    def read(
        self, root: nn.Module, optimizer: torch.optim.Optimizer
    ) -> Iterator[tuple[str, np.ndarray]]:
        """`<layer>/<tensor>/<slot>` and its value, for everything that the optimizer keeps.

        Of what is trained but got no gradient so far Torch keeps nothing, Keras zeros.
        """
        if not _has_keras_slots(optimizer):
            return
        groups = optimizer.param_groups
        rates = self._rates.get(id(optimizer)) or [float(group["lr"]) for group in groups]
        of_parameter = {
            id(p): (group, rate)
            for group, rate in zip(groups, rates, strict=True)
            for p in group["params"]
        }
        kept = {key for state in optimizer.state.values() for key in state}
        for key, (slot, convert) in _SLOTS.items():
            if key not in kept:
                continue

            def of(p: Tensor, key: str = key, convert: Any = convert) -> Tensor | None:
                state = optimizer.state.get(p, {})
                if id(p) in of_parameter and not state and p.requires_grad and p.grad is None:
                    return torch.zeros_like(p)
                value = state.get(key)
                return None if value is None else convert(value.detach(), *of_parameter[id(p)])

            for name, values in named_tensors(root, of).items():
                yield f"{name}/{slot}", to_numpy(values)


class Objective(L.LightningModule):
    """Trains a plain module.

    Args:
        model: Any module.
        loss: `loss(output, target)` → a scalar.
        optimizer: `optimizer(parameters)` → a Torch optimizer, or anything else that
            `configure_optimizers` may return.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        optimizer: Callable[[Iterator[nn.Parameter]], Any],
    ) -> None:
        super().__init__()
        self.model, self.loss, self.optimizer = model, loss, optimizer

    def forward(self, x: Any) -> Any:
        return call(self.model, x)

    def training_step(self, batch: tuple[Any, Any], batch_idx: int) -> Tensor:
        x, y = batch
        return self.loss(self(x), y)

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.model.parameters())


def repeats(module: nn.Module, x: Any, *, to_torch: Callable[[Any], Any] | None = None) -> bool:
    """Whether two forward passes from the same state return the same in training mode, to the bit.

    A module that raises repeats: that is told where it is trained.

    Args:
        module: Any module; it is left as it was found.
        x: Samples in Keras' layout.
        to_torch: Puts them into the module's layout; None for the usual one.
    """
    arranged = arrangement.of_samples(module, x).to_torch if to_torch is None else to_torch
    with as_found(module), torch.no_grad():
        if not module.training:
            module.train()  # As where it is traced: a frozen part stays in eval().
        outputs = []
        try:
            for _ in range(2):
                # What a buffer keeps is no random number.
                with tensors_as_found(module):
                    outputs.append(_kept(call(module, arrangement.unchanged(arranged(x)))))
        except Exception:
            return True
    one, other = ([leaf for _, leaf in leaves(output)] for output in outputs)
    return all(
        torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)
        for a, b in zip(one, other, strict=True)
        if isinstance(a, Tensor)
    )


def _kept(output: Any) -> Any:
    """A copy: the output may be a buffer, which is put back."""
    return mapped(output, lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf)


def structure(root: nn.Module, recording: Recording) -> list[dict[str, Any]]:
    """The layers of a module as numbers and strings.

    Args:
        root: The module.
        recording: What ran in it.

    Returns:
        For every layer, in the order in which they ran and then those that did not, `name`, `kind`,
        `tensors` (name → shape), `trained` (number of trained values) and `settings`.
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


def describe(module: nn.Module, x: Any) -> list[dict[str, Any]]:
    """The layers in the order of one forward pass in inference mode; see `structure`.

    The module is left as it was found.

    Args:
        module: Any module of known layers.
        x: A few samples in the module's layout: an array, or a tuple, list or dict of them.

    Raises:
        TypeError: No rule is known for a layer with weights of its own.
        ValueError: The module raises on these samples, or has no weights yet.
    """
    layers = weighted_layers(module)
    modes = {name: layer.module.training for name, layer in layers.items()}
    recording = Recording(module)
    with looking(module), recording.watching():
        try:
            call(module, mapped(x, tensor))
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
    # A part in inference mode while the rest trains; a module all in inference mode is not frozen.
    recording.frozen = {name for name, trains in modes.items() if module.training and not trains}
    return structure(module, recording)


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
