"""A trace: what a module computes in a few steps of its training, and in one evaluation.

`trace` trains and records, `describe` runs one forward pass, `repeats` two. Arrays are named alike
for every framework (see `compare.trace`) and are in Keras' layout. The module is left as it was
found. What the layers receive and return is recorded by `hooks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compare.backends.optimizer_rule import Rule
from compare.backends.protocol import Batches, Objective, Sink, Start
from compare.backends.structures import Structure, leaves
from compare.backends.torch import layouts, steps
from compare.backends.torch.hooks import Recording
from compare.backends.torch.preserve_state import as_found, looking, tensors_as_found
from compare.backends.torch.settings import settings
from compare.backends.torch.slots import rules, slot_names, slots
from compare.backends.torch.steps import learning_rates
from compare.backends.torch.structures import call, tensors, to_numpy
from compare.backends.torch.weights import weighted_layers, write_some
from compare.trace import Layer

_STATISTICS = ("moving_mean", "moving_variance")

ToKeras = Callable[[int, Structure, Structure], tuple[Structure, Structure]]
"""Step, samples and targets as training received them → both as Keras would have them."""


def trace(
    module: nn.Module,
    root: nn.Module,
    batches: Batches,
    sink: Sink,
    *,
    to_keras: ToKeras,
    start: Start | None = None,
    objective: Objective | None = None,
) -> list[Layer]:
    """Record a training step per batch, and one evaluation.

    Args:
        module: Its `training_step` and `configure_optimizers` are used, or an objective.
        root: The part whose layers are recorded: `module` itself or a network within.
        batches: Samples and targets of every step, tensors as a loader would yield them.
        sink: Receives every array under its name.
        to_keras: Puts a batch into Keras' layout, to be recorded.
        start: See `Framework.trace`.
        objective: Loss and optimizer of a plain module.

    Returns:
        The weighted layers in the order in which they ran, see `structure`. Where the module
        raises, the trace ends there and has the error's text as `error`.

    Raises:
        TypeError: No rule is known for a layer with weights of its own.
        ValueError: A lazy layer has no weights yet, or steps by hand cannot be followed.
    """
    samples, targets = batches[0]
    with as_found(module), ExitStack() as stack:
        begin_training(module)
        recorder = _Recorder(root, sink, to_keras, start)
        write_weights(root, sink, "initial")
        try:
            if targets is None:
                recorder.forward(module, samples)
            else:
                steps.train(module, batches, recorder, stack, objective)
            recorder.begin(len(batches) + 1)
            _evaluate(module, root, samples, recorder)
        except steps.UnfollowedError:
            recorder.stop()
            raise
        # Whatever a port raises is a finding, reported with what was recorded before it.
        except Exception as error:
            recorder.stop()
            sink("error", np.array(f"{type(error).__name__}: {error}"))
        return structure(root, recorder.recording)


def real_step(
    module: nn.Module,
    root: nn.Module,
    batch: tuple[Structure, Structure],
    sink: Sink,
    *,
    objective: Objective | None = None,
) -> None:
    """Take one step that nothing looks on at, and hand over what it leaves.

    Args:
        module: As in `trace`.
        root: As in `trace`.
        batch: Samples and targets, tensors as a loader would yield them.
        sink: Receives `step/1/weights/…`, `statistics`, `slots` and `optimizer`.
        objective: Loss and optimizer of a plain module.
    """

    class AfterStep(steps.Watch):
        def after_step(self, step: int) -> None:
            write_step(root, sink, step, self)

    with as_found(module), ExitStack() as stack:
        begin_training(module)
        steps.train(module, [batch], AfterStep(), stack, objective)


def begin_training(module: nn.Module) -> None:
    """What every training loop does first; a frozen part stays in `eval()`."""
    if not module.training:
        module.train()


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
        begin_training(module)
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


_UNMOVED = Rule(kind="none").text()
"""The rule of a weight that an optimizer does not move."""


class _Recorder(steps.Watch):
    """Writes what a step computes, when it has been computed."""

    def __init__(self, root: nn.Module, sink: Sink, to_keras: ToKeras, start: Start | None) -> None:
        super().__init__()
        self.root, self.sink, self.to_keras, self.start = root, sink, to_keras, start
        self.recording = Recording(root)
        self._watching = ExitStack()
        self._gradients = ""
        self._rules: dict[str, str] = {}
        self._raw_gradients: dict[int, Tensor] = {}

    def begin(self, step: int) -> None:
        """Let a step, or the evaluation, start from the weights that it should start from."""
        if self.start is not None:
            write_some(self.root, self.start(step, structure(self.root, self.recording)))

    def forward(self, module: nn.Module, x: Structure) -> None:
        """Record a forward pass in training mode, and what it does to moving statistics."""
        self._data(1, x, None)
        self._watching.enter_context(self.recording.watching())
        with torch.no_grad():
            output = layouts.output_to_keras(call(module, x), self.recording)
        self.stop()
        _hand_over(output, "step/1/prediction", self.sink)
        write_weights(self.root, self.sink, "step/1")

    def _data(self, step: int, x: Structure, y: Structure) -> None:
        x, y = self.to_keras(step, x, y)
        if step == 1:
            samples = next((len(leaf) for _, leaf in leaves(x)), None)
            self.recording = Recording(self.root, self.sink, samples=samples)
        self.begin(step)
        _hand_over(x, f"step/{step}/data/x", self.sink)
        _hand_over(y, f"step/{step}/data/y", self.sink)

    def stop(self) -> None:
        """Look no longer at what passes."""
        self._watching.close()

    def on_start(self) -> None:
        for optimizer in self.optimizers:
            _write_slots(self.root, self.sink, 0, optimizer, learning_rates(optimizer))
            optimizer.register_step_post_hook(self._stepped)

    def _stepped(self, optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
        # Settings may be set within the step, and a schedule changes them after it.
        for name, text in rules(self.root, optimizer, self._raw_gradients):
            # What one optimizer leaves alone another may have moved.
            if text != _UNMOVED or name not in self._rules:
                self._rules[name] = text

    def before_step(self, step: int, x: Structure, y: Structure) -> None:
        self._data(step, x, y)
        self._gradients = "gradient" if step == 1 else f"step/{step}/gradient"
        if step == 1:
            self._watching.enter_context(self.recording.watching())

    def before_backward(self) -> None:
        # Whatever is computed again on the way back, as by checkpointing, has been noted.
        self.stop()

    def after_backward(self) -> None:
        # A step may compute gradients again: the first are those of the weights it began with.
        prefix, self._gradients = self._gradients, ""
        if not prefix:
            return
        self.recording.finish()
        gradients = ((id(p), p.grad) for p in self.root.parameters())
        self._raw_gradients = {key: g.detach().clone() for key, g in gradients if g is not None}
        for layer in weighted_layers(self.root).values():
            for name, gradient in layer.tensors(lambda p: p.grad, alone=True).items():
                self.sink(f"{prefix}/{layer.name}/{name}", to_numpy(gradient))

    def after_step(self, step: int) -> None:
        assert self.loss is not None
        self.sink(f"step/{step}/loss", to_numpy(self.loss))
        write_step(self.root, self.sink, step, self)
        for name, text in self._rules.items():
            self.sink(f"step/{step}/rule/{name}", np.array(text))
        self._rules, self._raw_gradients = {}, {}


def write_weights(root: nn.Module, sink: Sink, prefix: str) -> None:
    """Hand over all weights and statistics as they are now."""
    for layer in weighted_layers(root).values():
        for name, values in layer.tensors().items():
            group = "statistics" if name.endswith(_STATISTICS) else "weights"
            under = prefix if prefix == "initial" else f"{prefix}/{group}"
            sink(f"{under}/{layer.name}/{name}", to_numpy(values))


def write_step(root: nn.Module, sink: Sink, step: int, watch: steps.Watch) -> None:
    """Hand over what a step leaves: weights, statistics, slots, and what else optimizers keep."""
    write_weights(root, sink, f"step/{step}")
    for optimizer in watch.optimizers:
        rates = watch.rates.get(id(optimizer)) or learning_rates(optimizer)
        _write_slots(root, sink, step, optimizer, rates)
        if step == 1:
            for name, value in _kept(root, optimizer):
                sink(f"step/1/optimizer/{name}", value)


def _write_slots(
    root: nn.Module,
    sink: Sink,
    step: int,
    optimizer: torch.optim.Optimizer,
    rates: Sequence[float],
) -> None:
    # Before it has any, there is nothing to be told.
    if step or optimizer.state:
        for name, value in slots(root, optimizer, rates):
            sink(f"step/{step}/slots/{name}", value)


def _kept(root: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, NDArray[Any]]]:
    """What an optimizer keeps of parameters beside their slots, by Torch's own names."""
    beside = slot_names(optimizer)
    for name, parameter in root.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if key not in beside and isinstance(value, (Tensor, int, float)):
                yield f"{name}/{key}", to_numpy(torch.as_tensor(value))
