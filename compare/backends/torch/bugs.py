"""The bugs of the self-test that lie in the live model: one for each rung that needs one.

Torch itself is not imported: the self-test lists names and expectations in a process without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from compare.backends.bugs import AFTER, RELATIVE, bug

if TYPE_CHECKING:
    from torch import Tensor, nn


def override(module: nn.Module, **methods: Callable[..., Any]) -> None:
    """Give a module methods of its own, as a subclass would, over those that it has."""
    kind = type(module)
    module.__class__ = type(kind.__name__, (kind,), methods)


@bug("the output layer has no bias", variant="mlp", rung=1, blame="output")
def _bias_dropped(handle: Any, size: float) -> None:
    handle.model.output.register_parameter("bias", None)


@bug("NaN in one activation", variant=AFTER, rung=4, blame="between hidden and batch_norm")
def _activation_nan(handle: Any, size: float) -> None:
    def poisoned(module: nn.Module, inputs: Any, outputs: Tensor) -> Tensor:
        outputs = outputs.clone()
        outputs[:, 7] = float("nan")
        return outputs

    handle.model.relu.register_forward_hook(poisoned)


@bug(
    "sum over the batch for mean",
    variant=AFTER,
    rung=5,
    blame="loss",
    explained_by=("loss-reduction",),
)
def _loss_summed(handle: Any, size: float) -> None:
    averaged = type(handle).training_step

    def training_step(self: Any, batch: tuple[Tensor, Tensor], batch_idx: int) -> Any:
        return averaged(self, batch, batch_idx) * len(batch[0])

    override(handle, training_step=training_step)


@bug("no gradient through mean and variance", variant=AFTER, rung=6, blame="batch_norm")
def _bn_statistics_detached(handle: Any, size: float) -> None:
    norm = handle.model.batch_norm
    tracked = type(norm).forward

    def forward(self: Any, x: Tensor) -> Any:
        expected = tracked(self, x)
        if not self.training:
            return expected
        batch = x.detach()
        deviation = (batch.var(0, correction=0) + self.eps).sqrt()
        return (x - batch.mean(0)) / deviation * self.weight + self.bias

    override(norm, forward=forward)


@bug("learning rate × 1.0001", variant=AFTER, rung=7, blame="optimizer", size=1e-4, unit=RELATIVE)
def _learning_rate_off(handle: Any, size: float) -> None:
    configured = type(handle).configure_optimizers

    def configure_optimizers(self: Any) -> Any:
        optimizer = configured(self)
        for group in optimizer.param_groups:
            group["lr"] *= 1.0 + size
        return optimizer

    override(handle, configure_optimizers=configure_optimizers)


@bug(
    "Keras' 0.99 copied as Torch's momentum",
    variant=AFTER,
    rung=8,
    blame="batch_norm",
    explained_by=("bn-momentum-copied",),
)
def _bn_momentum_inverted(handle: Any, size: float) -> None:
    norm = handle.model.batch_norm
    norm.momentum = 1.0 - norm.momentum


@bug("evaluates with the batch's statistics", variant=AFTER, rung=9, blame="batch_norm")
def _bn_evaluates_with_batch(handle: Any, size: float) -> None:
    norm = handle.model.batch_norm.train()
    norm.train = lambda mode=True: norm


@bug("a schedule sets in at epoch 3", variant=AFTER, rung=10, blame="every layer")
def _learning_rate_drops(handle: Any, size: float) -> None:
    def on_train_epoch_start(self: Any) -> None:
        if self.current_epoch == 2:
            for group in self.optimizers().param_groups:
                group["lr"] *= 0.1

    override(handle, on_train_epoch_start=on_train_epoch_start)
