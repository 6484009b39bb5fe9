"""What `compare` asks of a framework, all of it.

The adapter of each framework (`keras.adapter`, `torch.adapter`) is a module of this shape. Arrays,
numbers and strings pass through it; a handle is a live model that only its adapter opens. Weights,
samples and targets are in Keras' layout and under Keras' names on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from numpy.typing import NDArray

from compare.backends.draws import Draws
from compare.backends.structures import Structure
from compare.data import Array
from compare.trace import Layer, Operation

UNUSABLE = (TypeError, ValueError)
"""What an adapter raises, with a message for the user, about a model that it cannot trace."""

Handle = Any
"""A live model: what `build` returned, or a user's own."""

Batches = Sequence[tuple[Structure, Structure | None]]
"""Samples and targets of every step; where the targets are None, nothing is trained."""

Sink = Callable[[str, NDArray[Any]], None]
"""Receives arrays by name as soon as they are known. If it has a method `alias(new, old)`, that is
called instead where a layer receives exactly the output that was recorded just before."""

Start = Callable[[int, Sequence[Layer]], Mapping[str, Array]]
"""The weights and moving statistics that a step starts from, by the names and in the layout of
`read_weights`; what is not named stays as the step before left it. It is called before every step,
counted from 1, and for the evaluation as if that were one step more; and with the layers in the
order in which they ran, as far as is known."""

Objective = tuple[Callable[..., Any] | None, Callable[[Any], Any] | None]
"""Loss and optimizer of a plain Torch module, where it has them: `loss(output, target)`, where
samples have weights `loss(output, target, weights)`; `optimizer(parameters)`."""

Views = Mapping[str, tuple[Array, bool]]
"""What is evaluated after every epoch: name → samples, and whether batch normalization uses the
statistics of these samples."""

OnEpoch = Callable[[Array, Array, Mapping[str, Array]], None]
"""Called with the running training loss and accuracy, (seeds,), and the probabilities of every
view, (seeds, n)."""

Names = Mapping[str, str | tuple[str, Sequence[int]]]
"""Canonical name of a tensor → attribute path in the layer (`"weight"`, `"inner.kernel"`), or that
and the axes that bring it into the canonical layout, as `numpy.transpose` takes them."""


class EventLog(Protocol):
    """Writes the curves of one run for TensorBoard."""

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write tag → value at an epoch; the values are on disk when it returns."""

    def close(self) -> None:
        """Close the event file."""


class Framework(Protocol):
    """What both frameworks can do."""

    # The process.

    def versions(self) -> dict[str, str]:
        """Name → version of everything that computes here; with Keras, its backend too."""

    def configure(self, *, dtype: str, threads: int, accelerator: str = "cpu") -> None:
        """Set the dtype, the number of threads and the device of this process.

        Args:
            dtype: `"float32"` or `"float64"`, for models built from now on.
            threads: Threads per operation; TensorFlow takes them before its first operation only.
            accelerator: `"cpu"`, or `"gpu"` to use one if there is one. On Torch's side only timed
                fits use it; Keras takes it before its first operation only.
        """

    def accelerator(self) -> str:
        """The device that computes here: `"cpu"`, or the name of an accelerator."""

    def building(self, dtype: str, /) -> AbstractContextManager[None]:
        """A block in which models are built, and constants made, in `"float32"` or `"float64"`."""

    # The tutorial's networks, trained.

    def build(
        self,
        family: str,
        options: Mapping[str, object],
        *,
        seed: int,
        sgd: Mapping[str, float],
        undone: Collection[str],
    ) -> Handle:
        """A model that is ready to be trained, with the framework's own initial weights.

        Args:
            family: `"mlp"`, `"cnn"` or `"lstm"`.
            options: Arguments of the twin's builder, with `decay` for batch normalization's
                smoothing: Keras' `momentum`, one minus Torch's.
            seed: Seed of the framework's initializers.
            sgd: `learning_rate` and `momentum`.
            undone: Conventions whose remedy is left out.
        """

    def draw_orders(self, n: int, *, epochs: int, seed: int) -> Any:
        """The order of the samples in every epoch, (epochs, n), from the framework's generator."""

    def delivered(
        self, handle: Handle, orders: Any, *, batch_size: int
    ) -> list[list[NDArray[Any]]]:
        """The samples of every batch of every epoch, by index, as training gets to see them."""

    def train(
        self,
        handle: Handle,
        data: tuple[Array, Array],
        *,
        orders: Any,
        batch_size: int,
        on_epoch: Callable[[float, float], None],
    ) -> None:
        """Train with `model.fit` or `Trainer.fit` over all epochs.

        Args:
            handle: What `build` returned.
            data: Samples in Keras' layout, and labels, (n,).
            orders: The order of the samples in every epoch, (epochs, n).
            batch_size: Samples per batch; a short last batch is kept, unless the handle was built
                without the remedy for `last-batch`.
            on_epoch: Called after every epoch with the running training loss and accuracy.
        """

    def event_log(self, handle: Handle, folder: str, /) -> EventLog:
        """What writes the curves of a run for TensorBoard.

        Args:
            handle: The model that is trained.
            folder: Where the event file goes.
        """

    def compile_many(
        self, handle: Handle, data: tuple[Array, Array], *, batch_size: int, views: Views
    ) -> Handle:
        """What `fit_many` runs, traced once for any number of seeds.

        Args:
            handle: What `build` returned.
            data: Samples in Keras' layout, and labels, (n,).
            batch_size: Samples per batch, as in `train`.
            views: What is evaluated after every epoch.
        """

    def fit_many(
        self, program: Handle, starts: Iterable[tuple[Handle, Any]], /, *, on_epoch: OnEpoch
    ) -> Iterator[Handle]:
        """Train from many starts at once, all of them epoch by epoch; the numbers of `train`.

        Args:
            program: What `compile_many` returned.
            starts: Models of the program's architecture, each with the order of its samples,
                (epochs, n). Weights are copied as they come: it may be one model again and again.
            on_epoch: Called after every epoch.

        Yields:
            A model with the trained weights of one seed after the other.
        """

    def predict_proba(self, handle: Handle, x: Array, *, batch_statistics: bool = False) -> Array:
        """Probability of class 1, (n,), for all of `x` at once; the model is left as it was found.

        A module built without the remedy for `eval-mode` predicts as if it had never been switched
        to evaluation: batch normalization uses the statistics of `x`, and tracks them.

        Args:
            handle: What `build` returned.
            x: Samples in Keras' layout.
            batch_statistics: Whether batch normalization uses the statistics of `x` itself.
        """

    # Clocks and demonstrations.

    def configurations(self) -> dict[str, str]:
        """What `time_fit` can time → its kind: `"idiomatic"`, `"floor"` or `"tuned"`.

        A floor is the same training without the framework's loop: a bare loop, or compiled epochs.
        """

    def time_fit(
        self,
        handle: Handle,
        data: Mapping[str, tuple[Array, Array]],
        *,
        configuration: str,
        epochs: int,
        batch_size: int,
    ) -> dict[str, Any]:
        """Train once; note when the first step and every epoch ended.

        A step or an epoch ends when the device has computed it and its loss can be read.

        Args:
            handle: A fresh model from `build`.
            data: `"train"` and `"test"`: samples in Keras' layout, and labels, (n,).
            configuration: A key of `configurations`.
            epochs: Passes over the training samples.
            batch_size: Samples per batch; a short last batch is kept.

        Returns:
            `first_step`, seconds from the call to the end of the first step, None for a floor;
            `epoch_ends`, seconds from the call to the end of every epoch; `note`, what the
            framework decided by itself.
        """

    def demonstrate(self, name: str, *, remedied: bool) -> dict[str, Array]:
        """The arrays of a convention's demonstration; with the remedy both sides compute the same.

        Args:
            name: The convention, a key of the side's `demos.DEMONSTRATIONS`.
            remedied: Whether the remedy is in place, on whichever side it belongs.
        """

    # Any model.

    def is_model(self, thing: object, /) -> bool:
        """Whether something is a model of this framework: a `keras.Model`, a `torch.nn.Module`."""

    def dtype_of(self, handle: Handle, /) -> str:
        """The dtype that a model computes in: `"float32"` or `"float64"`.

        Raises:
            TypeError: It is no model of this framework, or computes in another dtype or in several.
        """

    def random_parts(self, handle: Handle, /) -> list[str]:
        """`path (Dropout, rate 0.5)` for every part that draws numbers in training mode.

        Functions such as `torch.nn.functional.dropout` cannot be seen; see `repeats`.
        """

    def shared(self, handle: Handle, draws: Draws, /) -> AbstractContextManager[None]:
        """A block in which what a model draws while it runs gets its numbers from elsewhere.

        Generators are left to those who put them back: `trace` and `real_step` do.

        Args:
            handle: A model; it is left as it was found.
            draws: Gives the numbers, and records what was asked for; its `begin` says which step
                it is.
        """

    def undropped(self, handle: Handle, /) -> AbstractContextManager[None]:
        """A block in which dropout and noise are off, as if all rates and deviations were zero.

        Args:
            handle: A model; it is left as it was found.
        """

    def repeats(self, handle: Handle, x: Structure, /) -> bool:
        """Whether two forward passes from the same state return the same in training mode, exactly.

        A Torch module that raises counts as repeating: `trace` reports its error.

        Args:
            handle: A model; it is left as it was found.
            x: Samples in Keras' layout.
        """

    def optimizer_settings(self, handle: Handle, /) -> dict[str, Any] | None:
        """Settings of the optimizer that would train a model, which is left as it was found.

        Returns:
            `kind` and the numbers that all groups of parameters share, under Keras' names.
            `learning_rate` is `{"schedule": class}` where a schedule changes it. `class` is there
            for a subclass of one of Torch's optimizers. None where a Keras model is not compiled;
            empty where Torch's `configure_optimizers` cannot be called before training.
        """

    def loss_settings(self, handle: Handle, /) -> dict[str, Any]:
        """`name`, `from_logits` and `reduction` of a model's loss; empty where it is unknown.

        Unknown are several losses of a Keras model, and what a `training_step` contains.
        """

    def read_weights(self, handle: Handle, /) -> dict[str, Array]:
        """Copies of all weights and moving statistics by canonical name, in Keras' layout.

        `"hidden/kernel"`, `"batch_norm/moving_mean"`; the `bias` of a Torch LSTM is the sum of its
        two.

        Raises:
            TypeError: No rule is known for a layer with weights of its own.
            ValueError: A layer has no weights yet.
        """

    def write_weights(self, handle: Handle, weights: Mapping[str, Array], /) -> None:
        """Set all weights and moving statistics.

        The `bias` of a Torch LSTM goes to `bias_ih`; `bias_hh` becomes zero.

        Args:
            handle: A model.
            weights: Exactly the names and shapes that `read_weights` returns.

        Raises:
            TypeError: No rule is known for a layer with weights of its own.
            ValueError: A name is missing or too many, or a shape differs.
        """

    def describe(self, handle: Handle, x: Structure, /) -> list[Layer]:
        """The weighted layers in the order in which they run in inference mode.

        Args:
            handle: A model; it is left as it was found.
            x: A few samples in the model's own layout.

        Returns:
            The layers, those that did not run last; see `compare.trace.Layer`.

        Raises:
            TypeError: No rule is known for a layer with weights of its own.
            ValueError: The model has no weights yet, or raises on these samples.
        """

    def operations(self, handle: Handle, x: Structure, /) -> list[Operation]:
        """All that runs in one forward pass in inference mode, in order, weighted or not.

        Functions of Torch cannot be seen. Where a Torch module raises, the list ends.

        Args:
            handle: A model; it is left as it was found.
            x: A few samples in Keras' layout.
        """

    def not_compared(self, handle: Handle, /) -> list[str]:
        """What a model has that changes its training or what is reported of it, and no trace sees.

        Each in words: metrics, schedules that wait for a metric, validation steps.
        """

    def write_some(self, handle: Handle, weights: Mapping[str, Array], /) -> None:
        """Set some weights and moving statistics, as `write_weights` does.

        Args:
            handle: A model.
            weights: Some of the names that `read_weights` returns, in their shapes.
        """

    def trace(
        self, handle: Handle, batches: Batches, sink: Sink, *, start: Start | None = None
    ) -> list[Layer]:
        """Record a training step per batch, and one evaluation; names as in `compare.trace`.

        The model is left as it was found, with its optimizers, as far as it has them.

        Args:
            handle: A Keras model, compiled if there are targets: its own `train_step` and its own
                optimizers are used. On Torch's side, what `build` returned; for other modules see
                `TorchFramework.trace_any`.
            batches: Samples and targets in Keras' layout. Where the targets are None, a forward
                pass in training mode is all.
            sink: Receives every array under its name.
            start: What steps start from, if not from where the step before ended.

        Returns:
            The layers, as from `describe`, in the order in which they ran in training.

        Raises:
            TypeError: No rule is known for a layer with weights of its own.
            ValueError: The model has no weights yet, nothing to be trained with, or raises.
        """

    def forget_rule(self, layer_type: type, /) -> None:
        """Remove what `add_rule` registered for a type."""


class KerasFramework(Framework, Protocol):
    """What Keras does beside."""

    def trace(
        self,
        handle: Handle,
        batches: Batches,
        sink: Sink,
        *,
        start: Start | None = None,
        jit_compile: bool = False,
    ) -> list[Layer]:
        """As `Framework.trace`; with `jit_compile` XLA compiles the passes and rounds otherwise."""

    def real_step(self, handle: Handle, x: Structure, y: Structure, sink: Sink, /) -> None:
        """Take one step with `model.fit`, eagerly and unobserved, and hand over what it leaves.

        The model is left as it was found.

        Args:
            handle: A compiled model.
            x: Samples: the one batch.
            y: Targets.
            sink: Receives `step/1/weights/…`, `statistics`, `slots` and `optimizer`, as from
                `trace`.

        Raises:
            ValueError: What training raises.
        """

    def sample_input(self, handle: Handle, n: int, seed: int, /) -> Structure:
        """Synthetic samples of the shapes that a model takes.

        Args:
            handle: A built model.
            n: Number of samples.
            seed: Seed of the numbers.

        Returns:
            Standard normal numbers, and whole numbers below the vocabulary where they feed an
            `Embedding`. Axes of any length, such as time, get 8, or 32 each if there are several.

        Raises:
            ValueError: Shapes are unknown, as of a subclassed model that never ran.
        """

    def add_rule(
        self, layer_type: type, /, names: Names | None = None, *, kind: str | None = None
    ) -> None:
        """Register which tensors a layer has; it then counts as one whole.

        Args:
            layer_type: A subclass of `keras.Layer`; the rule holds for its subclasses too.
            names: The layer's tensors. None: every variable under its own name, those of inner
                layers by their path.
            kind: What the layer is called in reports; by default the name of the type.

        Raises:
            TypeError: `layer_type` is not a type of layers.
        """


class TorchFramework(Framework, Protocol):
    """What Torch and Lightning do beside: plain modules, and layouts that differ from Keras'."""

    def is_lightning(self, handle: Handle, /) -> bool:
        """Whether a module brings its own training step and optimizer."""

    def trace_any(
        self,
        handle: Handle,
        batches: Batches,
        sink: Sink,
        *,
        start: Start | None = None,
        objective: Objective | None = None,
        to_torch: Callable[[Structure], Structure] | None = None,
        targets_to_torch: Callable[[Structure], Structure] | None = None,
    ) -> list[Layer]:
        """As `Framework.trace`, of any module. Where it raises, the trace ends there with `error`.

        Args:
            handle: A LightningModule, or a plain module with an `objective`.
            batches: Samples and targets in Keras' layout.
            sink: Receives every array under its name.
            start: What steps start from, if not from where the step before ended.
            objective: Loss and optimizer of a plain module.
            to_torch: Puts samples into the module's layout. None to move channels to axis 1: those
                of images where the module works on images, of series where its first layer does.
            targets_to_torch: The same for targets. None to move channels where that gives the shape
                that the module returns.

        Raises:
            TypeError: No rule is known for a layer with weights of its own.
            ValueError: There is nothing to train with, the module optimizes by hand, or `to_torch`
                raises.
        """

    def with_threads(self, count: int, /) -> AbstractContextManager[None]:
        """A block in which an operation takes so many threads; put back at its end."""

    def rounded_otherwise(self, seed: int, dtype: str, /) -> AbstractContextManager[None]:
        """A block in which every operation computes with operands a unit in the last place off.

        Args:
            seed: Seed of the directions, up or down.
            dtype: Whose units they are, `"float32"` or `"float64"`; that of the model, or float32
                for what a float64 model rounds to it.
        """

    def real_step(
        self,
        handle: Handle,
        x: Structure,
        y: Structure,
        sink: Sink,
        /,
        *,
        objective: Objective | None = None,
        to_torch: Callable[[Structure], Structure] | None = None,
    ) -> None:
        """Take one step with `Trainer.fit`, or in a plain loop, and hand over what it leaves.

        As `KerasFramework.real_step`; the other arguments are those of `trace_any`.
        """

    def repeats(
        self,
        handle: Handle,
        x: Structure,
        /,
        *,
        to_torch: Callable[[Structure], Structure] | None = None,
    ) -> bool:
        """As `Framework.repeats`; `to_torch` puts samples into the module's layout."""

    def random_state(self) -> bytes:
        """The state of the generator that modules draw from: it moves where one draws."""

    def operations(
        self,
        handle: Handle,
        x: Structure,
        /,
        *,
        to_torch: Callable[[Structure], Structure] | None = None,
    ) -> list[Operation]:
        """As `Framework.operations`; `to_torch` puts samples into the module's layout."""

    def not_compared(self, handle: Handle, objective: Objective | None = None, /) -> list[str]:
        """As `Framework.not_compared`; a plain module has the optimizer of its objective."""

    def optimizer_settings(
        self, handle: Handle, objective: Objective | None = None, /
    ) -> dict[str, Any]:
        """As `Framework.optimizer_settings`; a plain module has the optimizer of its objective."""

    def loss_settings(
        self, handle: Handle, objective: Objective | None = None, /
    ) -> dict[str, Any]:
        """As `Framework.loss_settings`; a plain module has the loss of its objective."""

    def add_rule(self, layer_type: type, /, names: Names, *, kind: str | None = None) -> None:
        """Register which tensors a layer has; it replaces a rule that was there.

        Args:
            layer_type: A subclass of `torch.nn.Module`.
            names: The layer's tensors.
            kind: What the layer is called in reports; by default the name of the type.

        Raises:
            TypeError: `layer_type` is not a type of modules.
        """
