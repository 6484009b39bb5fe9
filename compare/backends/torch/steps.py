"""Training steps as a user takes them: those of a `Trainer`, or a plain loop's.

What looks on is a `Watch`; a step is the same whether something is recorded meanwhile or not.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.core import optimizer as configuring
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader

from compare.backends.protocol import Batches, Objective
from compare.backends.structures import Structure, as_batch, without_weights
from compare.backends.torch.preserve_state import training_as_found
from compare.backends.torch.structures import call


class UnfollowedError(ValueError):
    """A module that optimizes by hand does not take one step from one loss in every batch."""


class Watch:
    """Is told what happens in every step, counted from 1; does nothing by itself.

    Attributes:
        steps: Number of steps that have ended.
        loss: Of the last step, once it has ended.
        optimizers: What takes the steps, once training has begun.
        rates: Learning rates that the last step of each optimizer was taken with, by its identity.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.loss: Tensor | None = None
        self.optimizers: Sequence[optim.Optimizer] = ()
        self.rates: dict[int, list[float]] = {}

    def on_start(self) -> None:
        """The optimizers are there, and no step was taken yet."""

    def before_step(self, step: int, x: Structure, y: Structure) -> None:
        """A step begins, on this batch."""

    def before_backward(self) -> None:
        """The loss is computed, for the first time in a step or again."""

    def after_backward(self) -> None:
        """Gradients are there, before an optimizer sees them."""

    def after_step(self, step: int) -> None:
        """A step has ended, with all that the user does at its end."""

    def stepping(self, optimizer: optim.Optimizer) -> None:
        """An optimizer is about to step."""
        self.rates[id(optimizer)] = learning_rates(optimizer)

    def ended(self, loss: Tensor | None) -> None:
        """Note that a step has ended.

        Raises:
            ValueError: It had no loss.
        """
        if loss is None:
            raise ValueError("training_step returned no loss")
        self.steps, self.loss = self.steps + 1, loss


def learning_rates(optimizer: optim.Optimizer) -> list[float]:
    """Of every group of parameters."""
    return [float(group["lr"]) for group in optimizer.param_groups]


def train(
    module: nn.Module,
    batches: Batches,
    watch: Watch,
    stack: ExitStack,
    objective: Objective | None = None,
) -> None:
    """Take a step per batch.

    Args:
        module: A LightningModule, or a plain module with an objective; it is changed.
        batches: Samples and targets of every step, tensors as a loader would yield them.
        watch: What looks on.
        stack: Puts optimizers and what they move back when it unwinds: they may be a user's own.
        objective: Loss and optimizer of a plain module.

    Raises:
        RuntimeError: Training stopped early. Whatever else the user's code raises passes through.
    """
    with _quietly():
        if objective is None:
            _fit(module, batches, watch, stack)
        else:
            _loop(module, batches, watch, stack, objective)
    if watch.steps < len(batches):
        raise RuntimeError(f"training stopped after {watch.steps} of {len(batches)} steps")


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        for advice in (
            ".*does not have many workers.*",
            ".*LeafSpec.*is deprecated",
            ".*have no `val_dataloader`.*",
            # A frozen part is meant to be in eval() here, and is compared as such.
            ".*in eval mode.*",
            # An error of its own, see `Watch.ended`.
            ".*returned `None`.*",
            # Batches of several tensors have several sizes to infer a mean of metrics from.
            ".*infer the `batch_size`.*",
        ):
            warnings.filterwarnings("ignore", message=advice)
        yield


def _loop(
    module: nn.Module, batches: Batches, watch: Watch, stack: ExitStack, objective: Objective
) -> None:
    """`zero_grad`, `loss.backward`, `step`, and schedules that count steps."""
    loss_of, optimizer_of = objective
    assert loss_of is not None
    assert optimizer_of is not None
    # A user's function may return what Lightning's `configure_optimizers` may.
    optimizers, schedules, monitor = configuring._configure_optimizers(
        optimizer_of(module.parameters())
    )
    configs = configuring._configure_schedulers_automatic_opt(schedules, monitor)
    stack.enter_context(training_as_found(*optimizers, *(c.scheduler for c in configs)))
    watch.optimizers = optimizers
    watch.on_start()
    for step, (x, y) in enumerate(batches, start=1):
        watch.before_step(step, x, without_weights(y))
        watch.ended(_step(partial(_loss, module, loss_of, x, y), optimizers, watch))
        for config in configs:
            schedule: Any = config.scheduler
            counts = config.interval == "step" and not config.reduce_on_plateau
            if counts and step % config.frequency == 0:
                schedule.step()
        watch.after_step(step)


def _loss(module: nn.Module, loss_of: Callable[..., Any], x: Any, y: Any) -> Tensor:
    loss: Tensor = loss_of(call(module, x), *as_batch(x, y)[1:])
    return loss


def _step(
    loss_of: Callable[[], Tensor], optimizers: Sequence[optim.Optimizer], watch: Watch
) -> Tensor:
    losses: list[Tensor] = []

    def closure() -> Any:
        for optimizer in optimizers:
            optimizer.zero_grad()
        losses.append(loss_of())
        watch.before_backward()
        losses[-1].backward()
        watch.after_backward()
        return losses[-1]

    again = [o for o in optimizers if _computes_again(o)]
    if len(again) < len(optimizers):
        closure()
    for optimizer in optimizers:
        watch.stepping(optimizer)
        optimizer.step(closure) if optimizer in again else optimizer.step()
    return losses[0].detach()


def _computes_again(optimizer: optim.Optimizer) -> bool:
    """Whether its steps must be given what computes the loss, as those of LBFGS."""
    parameters = list(inspect.signature(optimizer.step).parameters.values())
    return (
        bool(parameters)
        and parameters[0].default is inspect.Parameter.empty
        and (parameters[0].kind is parameters[0].POSITIONAL_OR_KEYWORD)
    )


def _fit(module: Any, batches: Batches, watch: Watch, stack: ExitStack) -> None:
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
        callbacks=[_Telling(watch, stack)],
    )
    # The default would turn tuples into lists.
    steps: Any = [as_batch(x, y) for x, y in batches]
    loader: Any = DataLoader(steps, batch_size=None, collate_fn=lambda batch: batch)
    trainer.fit(module, loader)


class _Telling(L.Callback):
    """Tells a watch what a `Trainer` does."""

    def __init__(self, watch: Watch, stack: ExitStack) -> None:
        self._watch, self._stack = watch, stack
        self._losses: list[Tensor] = []
        self._stepped = False

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        # What a module brings along may change the steps, but not end them or write files.
        aside = (Checkpoint, EarlyStopping)
        trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, aside)]

    def on_train_start(self, trainer: Any, module: Any) -> None:
        configs = trainer.lr_scheduler_configs
        parts = *trainer.optimizers, *(config.scheduler for config in configs)
        self._stack.enter_context(training_as_found(*parts))
        # It would wait, at the end of the epoch, for a metric that nobody measures here.
        trainer.strategy.lr_scheduler_configs = [c for c in configs if not c.reduce_on_plateau]
        self._watch.optimizers = trainer.optimizers
        self._watch.on_start()

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        # Only now has the module done what it does at the end of a batch.
        if batch_idx:
            self._watch.after_step(batch_idx)
        self._losses, self._stepped = [], False
        self._watch.before_step(batch_idx + 1, *batch[:2])

    def on_before_backward(self, trainer: Any, module: Any, loss: Any) -> None:
        self._losses.append(loss.detach())
        if len(self._losses) > 1 and not module.automatic_optimization:
            raise UnfollowedError(
                f"{type(module).__name__} calls manual_backward more than once in a step, but a "
                "step in Keras has one loss: check each loss by itself"
            )
        self._watch.before_backward()

    def on_after_backward(self, trainer: Any, module: Any) -> None:
        self._watch.after_backward()

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self._stepped = True
        self._watch.stepping(optimizer)

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not (self._stepped or module.automatic_optimization):
            raise UnfollowedError(
                f"{type(module).__name__} takes no step in some batches; what it adds up by hand "
                "cannot be followed: leave that to Trainer(accumulate_grad_batches=…), and check "
                "one step"
            )
        by_hand = self._losses[0] if self._losses and not module.automatic_optimization else None
        self._watch.ended((outputs or {}).get("loss", by_hand))

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self._watch.after_step(self._watch.steps)
