"""The register of bugs that can be put into a live module; see `torch.mutations`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import BinaryAccuracy

from bn_torch.module import BinaryClassifier
from bn_torch.norm import BiasedBatchNorm

Bug = Callable[[BinaryClassifier, float], None]
"""Changes a module in place; the number is how large the bug is, for bugs that have a size."""

BUGS: dict[str, Bug] = {}
"""Name → bug."""


def bug(function: Bug) -> Bug:
    """Register a bug under the function's name, with dashes and none in front."""
    BUGS[function.__name__.strip("_").replace("_", "-")] = function
    return function


def override(handle: BinaryClassifier, **methods: Callable[..., Any]) -> None:
    """Give a module methods of its own, as a subclass would, over those it was given before."""
    kind = type(handle)
    handle.__class__ = type(kind.__name__, (kind,), methods)


class _Lambda(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _moved(model: nn.Sequential, name: str, after: str) -> None:
    """Move a layer of a sequence behind another one."""
    layers = dict(model.named_children())
    moved = layers.pop(name)
    for key in [*layers, name]:
        delattr(model, key)
    for key, layer in layers.items():
        model.add_module(key, layer)
        if key == after:
            model.add_module(name, moved)


# Structure.


@bug
def _bias_dropped(handle: BinaryClassifier, size: float) -> None:
    handle.model.output = nn.Linear(handle.model.output.in_features, 1, bias=False)


@bug
def _hidden_too_wide(handle: BinaryClassifier, size: float) -> None:
    handle.model.hidden = nn.Linear(2, 64)
    handle.model.output = nn.Linear(64, 1)


# Forward pass: what lies between layers.


@bug
def _bn_before_relu(handle: BinaryClassifier, size: float) -> None:
    _moved(handle.model, "relu", after="batch_norm")


@bug
def _bn_after_relu(handle: BinaryClassifier, size: float) -> None:
    _moved(handle.model, "batch_norm", after="relu")


@bug
def _relu_forgotten(handle: BinaryClassifier, size: float) -> None:
    handle.model.relu = nn.Identity()


@bug
def _relu_leaky(handle: BinaryClassifier, size: float) -> None:
    handle.model.relu = nn.LeakyReLU(size)


@bug
def _relu_gelu(handle: BinaryClassifier, size: float) -> None:
    handle.model.relu = nn.GELU()


@bug
def _dropout_added(handle: BinaryClassifier, size: float) -> None:
    handle.model.relu = nn.Sequential(nn.ReLU(), nn.Dropout(0.1))


@bug
def _activation_nan(handle: BinaryClassifier, size: float) -> None:
    place = torch.zeros(1, 50)
    place[0, 7] = torch.nan
    handle.model.relu = nn.Sequential(nn.ReLU(), _Lambda(lambda x: x + place))


@bug
def _input_scaled(handle: BinaryClassifier, size: float) -> None:
    handle.model.register_forward_pre_hook(lambda model, entered: (entered[0] * (1.0 + size),))


@bug
def _flatten_channels_first(handle: BinaryClassifier, size: float) -> None:
    handle.model.flatten = nn.Flatten()


@bug
def _pool_stride(handle: BinaryClassifier, size: float) -> None:
    handle.model.max_pool = nn.MaxPool2d(2, stride=1)


@bug
def _pool_kernel(handle: BinaryClassifier, size: float) -> None:
    handle.model.max_pool = nn.MaxPool2d(3, stride=2, padding=1)


@bug
def _pool_average(handle: BinaryClassifier, size: float) -> None:
    handle.model.max_pool = nn.AvgPool2d(2)


class _FlippedConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.flip(2, 3), self.bias)


@bug
def _conv_flipped(handle: BinaryClassifier, size: float) -> None:
    handle.model.conv1.__class__ = _FlippedConv


@bug
def _conv_padding(handle: BinaryClassifier, size: float) -> None:
    handle.model.conv1.padding = (1, 1)


# Forward pass: the LSTM.


class _Recurrent(nn.LSTM):
    """An LSTM whose input and outputs can be changed on the way."""

    def enter(self, x: Tensor) -> Tensor:
        return x

    def leave(self, outputs: Tensor) -> Tensor:
        return outputs

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        outputs, state = super().forward(self.enter(x), hx)
        return self.leave(outputs), state


class _FromTheEnd(_Recurrent):
    def enter(self, x: Tensor) -> Tensor:
        return x.flip(1)


class _FirstOutput(_Recurrent):
    def leave(self, outputs: Tensor) -> Tensor:
        return outputs.flip(1)


class _GatesSwapped(nn.LSTM):
    """Takes the third gate for the output gate and the fourth for the cell's candidate."""

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        parts = [p.chunk(4) for p in self._flat_weights]
        swapped = [torch.cat([i, f, o, g]) for i, f, g, o in parts]
        zeros = x.new_zeros(1, len(x), self.hidden_size)
        outputs, h, c = torch.lstm(
            x, (zeros, zeros), swapped, True, 1, 0.0, self.training, False, True
        )
        return outputs, (h, c)


class _Truncated(nn.LSTM):
    """No gradient flows from one time step to the one before."""

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        outputs, state = [], None
        for step in x.split(1, dim=1):
            state = None if state is None else tuple(s.detach() for s in state)
            output, state = super().forward(step, state)
            outputs.append(output)
        return torch.cat(outputs, dim=1), state


def _lstm(name: str, kind: type[nn.LSTM]) -> None:
    def change(handle: BinaryClassifier, size: float) -> None:
        handle.model.lstm.__class__ = kind

    BUGS[name] = change


_lstm("lstm-time-reversed", _FromTheEnd)
_lstm("lstm-first-output", _FirstOutput)
_lstm("lstm-gates-computed-swapped", _GatesSwapped)
_lstm("lstm-state-detached", _Truncated)


@bug
def _lstm_not_batch_first(handle: BinaryClassifier, size: float) -> None:
    handle.model.lstm.batch_first = False


@bug
def _lstm_two_biases(handle: BinaryClassifier, size: float) -> None:
    handle.model.lstm.bias_hh_l0.requires_grad_(True)


def _norm(handle: BinaryClassifier) -> BiasedBatchNorm:
    norm: BiasedBatchNorm = handle.model.batch_norm
    return norm


@bug
def _bn_forgotten(handle: BinaryClassifier, size: float) -> None:
    handle.model.batch_norm = nn.Identity()


@bug
def _bn_affine_kept(handle: BinaryClassifier, size: float) -> None:
    old = _norm(handle)
    handle.model.batch_norm = BiasedBatchNorm(old.num_features, old.eps, old.momentum)


@bug
def _bn_gamma_frozen(handle: BinaryClassifier, size: float) -> None:
    _norm(handle).weight.requires_grad_(False)


@bug
def _bn_epsilon(handle: BinaryClassifier, size: float) -> None:
    _norm(handle).eps -= size


@bug
def _bn_momentum_inverted(handle: BinaryClassifier, size: float) -> None:
    _norm(handle).momentum = 1.0 - _norm(handle).momentum


@bug
def _bn_momentum_default(handle: BinaryClassifier, size: float) -> None:
    _norm(handle).momentum = 0.1


@bug
def _bn_momentum_off(handle: BinaryClassifier, size: float) -> None:
    _norm(handle).momentum *= 1.0 + size


@bug
def _bn_statistics_frozen(handle: BinaryClassifier, size: float) -> None:
    _norm(handle).momentum = 0.0


@bug
def _bn_unbiased_variance(handle: BinaryClassifier, size: float) -> None:
    old = _norm(handle)
    handle.model.batch_norm = nn.BatchNorm1d(old.num_features, old.eps, old.momentum)


@bug
def _bn_cumulative_average(handle: BinaryClassifier, size: float) -> None:
    handle.model.batch_norm = nn.BatchNorm1d(_norm(handle).num_features, _norm(handle).eps, None)


@bug
def _bn_frozen(handle: BinaryClassifier, size: float) -> None:
    norm = _norm(handle).eval()
    norm.train = lambda mode=True: norm  # type: ignore[method-assign]


@bug
def _bn_evaluates_with_batch(handle: BinaryClassifier, size: float) -> None:
    norm = _norm(handle).train()
    norm.train = lambda mode=True: norm  # type: ignore[method-assign]


class _Affine(BiasedBatchNorm):
    """Normalizes otherwise in training, with γ and β as they should be."""

    def normalized(self, x: Tensor) -> Tensor:
        """What γ scales and β shifts."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        expected = super().forward(x)
        if not self.training:
            return expected
        channels = [1, -1] + [1] * (x.ndim - 2)
        return self.normalized(x) * self.weight.view(channels) + self.bias.view(channels)


class _PerSample(_Affine):
    """Statistics over the features of each sample: the other axis of (N, C)."""

    def normalized(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:], eps=self.eps)


class _PerImage(_Affine):
    """Statistics over the pixels of each image and channel, not over the batch."""

    def normalized(self, x: Tensor) -> Tensor:
        return F.instance_norm(x, eps=self.eps)


class _PerPixel(_Affine):
    """Statistics over the batch alone, one for each channel and pixel."""

    def normalized(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, 0, correction=0)
        return (x - mean) / torch.sqrt(variance + self.eps)


class _UnbiasedBatch(_Affine):
    """Divides by the unbiased deviation of the batch."""

    def normalized(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, 0, correction=1)
        return (x - mean) / torch.sqrt(variance + self.eps)


class _EpsilonOutside(_Affine):
    """Adds ε to the deviation, not to the variance."""

    def normalized(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, 0, correction=0)
        return (x - mean) / (torch.sqrt(variance) + self.eps)


class _Detached(_Affine):
    """No gradient flows through mean and variance."""

    def normalized(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x.detach(), 0, correction=0)
        return (x - mean) / torch.sqrt(variance + self.eps)


class _TwiceTracked(BiasedBatchNorm):
    """Updates the moving statistics twice per step, as a second forward pass does."""

    def _track(self, x: Tensor) -> None:
        super()._track(x)
        super()._track(x)


class _WholeBatchesTracked(BiasedBatchNorm):
    """Leaves the short last batch of an epoch out of the moving statistics."""

    def _track(self, x: Tensor) -> None:
        if len(x) == 32:
            super()._track(x)


class _OutputTracked(BiasedBatchNorm):
    """Tracks the statistics of what leaves, not of what enters."""

    def _track(self, x: Tensor) -> None:
        y = F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        super()._track(y.detach())


class _DeviationTracked(BiasedBatchNorm):
    """Tracks the deviation in place of the variance."""

    def _track(self, x: Tensor) -> None:
        variance, mean = torch.var_mean(x, 0, correction=0)
        kept = 1.0 - self.momentum
        self.running_mean.mul_(kept).add_(mean * (1.0 - kept))
        self.running_var.mul_(kept).add_(variance.sqrt() * (1.0 - kept))


class _NoEpsilonEvaluated(BiasedBatchNorm):
    """Leaves ε out when it evaluates."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, 0.0
        )


def _kind(name: str, kind: type[BiasedBatchNorm]) -> None:
    def change(handle: BinaryClassifier, size: float) -> None:
        _norm(handle).__class__ = kind

    BUGS[name] = change


_kind("bn-wrong-axis", _PerSample)
_kind("bn-per-image", _PerImage)
_kind("bn-per-pixel", _PerPixel)
_kind("bn-unbiased-normalization", _UnbiasedBatch)
_kind("bn-epsilon-outside", _EpsilonOutside)
_kind("bn-statistics-detached", _Detached)
_kind("bn-tracked-twice", _TwiceTracked)
_kind("bn-short-batch-untracked", _WholeBatchesTracked)
_kind("bn-output-tracked", _OutputTracked)
_kind("bn-deviation-tracked", _DeviationTracked)
_kind("bn-evaluates-without-epsilon", _NoEpsilonEvaluated)


Loss = Callable[[BinaryClassifier, Tensor, Tensor, float], Tensor]


# The loss.


def _loss(name: str, loss: Loss) -> None:
    """Register a bug that trains on another loss: of the module, logits, labels and the size."""

    def change(handle: BinaryClassifier, size: float) -> None:
        def training_step(self: Any, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            x, y = batch
            logits = self(x)
            found = loss(self, logits, y, size)
            self.train_accuracy(logits.sigmoid(), y)
            self.log("train_loss", found, on_step=False, on_epoch=True)
            self.log("train_accuracy", self.train_accuracy, on_step=False, on_epoch=True)
            return found

        override(handle, training_step=training_step)

    BUGS[name] = change


def _entropy(logits: Tensor, y: Tensor, **options: Any) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, y, **options)


def _penalty(module: BinaryClassifier) -> Tensor:
    return sum((p**2).sum() for p in module.parameters())  # type: ignore[return-value]


_loss("loss-summed", lambda module, logits, y, size: _entropy(logits, y, reduction="sum"))
_loss("loss-on-probabilities", lambda module, logits, y, size: _entropy(logits.sigmoid(), y))
_loss("loss-smoothed", lambda module, logits, y, size: _entropy(logits, y + size * (0.5 - y)))
_loss(
    "loss-penalized", lambda module, logits, y, size: _entropy(logits, y) + size * _penalty(module)
)
_loss(
    "loss-weighted",
    lambda module, logits, y, size: _entropy(logits, y, pos_weight=logits.new_tensor(1.0 + size)),
)
_loss("loss-hinge", lambda module, logits, y, size: F.relu(1 - (2 * y - 1) * logits).mean())


# Gradients.


@bug
def _gradient_scaled(handle: BinaryClassifier, size: float) -> None:
    handle.model.hidden.weight.register_hook(lambda gradient: gradient * (1.0 + size))


class _LeakyBackward(torch.nn.Module):
    """A rectifier whose gradient is that of a leaky one."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        leaky = F.leaky_relu(x, self.slope)
        return leaky + (F.relu(x) - leaky).detach()


@bug
def _relu_gradient_leaky(handle: BinaryClassifier, size: float) -> None:
    handle.model.relu = _LeakyBackward(size)


@bug
def _gradients_not_zeroed(handle: BinaryClassifier, size: float) -> None:
    override(handle, optimizer_zero_grad=lambda self, epoch, batch_idx, optimizer: None)


# The optimizer.


def _sgd(name: str, options: Callable[[float], dict[str, Any]]) -> None:
    """Register a bug that changes options of SGD."""

    def change(handle: BinaryClassifier, size: float) -> None:
        def configure(self: Any) -> torch.optim.Optimizer:
            found = {"lr": self.hparams["learning_rate"], "momentum": self.hparams["momentum"]}
            trained = [p for p in self.parameters() if p.requires_grad]
            return torch.optim.SGD(trained, **{**found, **options(size)})

        override(handle, configure_optimizers=configure)

    BUGS[name] = change


_sgd("learning-rate-off", lambda size: {"lr": 0.01 * (1.0 + size)})
_sgd("learning-rate-float32", lambda size: {"lr": float(np.float32(0.01))})
_sgd("sgd-momentum-off", lambda size: {"momentum": 0.9 * (1.0 + size)})
_sgd("sgd-momentum-float32", lambda size: {"momentum": float(np.float32(0.9))})
_sgd("sgd-momentum-forgotten", lambda size: {"momentum": 0.0})
_sgd("sgd-nesterov", lambda size: {"nesterov": True})
_sgd("sgd-dampened", lambda size: {"dampening": size})
_sgd("weight-decay", lambda size: {"weight_decay": size})


@bug
def _adam(handle: BinaryClassifier, size: float) -> None:
    override(
        handle, configure_optimizers=lambda self: torch.optim.Adam(self.model.parameters(), lr=0.01)
    )


@bug
def _output_not_optimized(handle: BinaryClassifier, size: float) -> None:
    def configure(self: Any) -> torch.optim.Optimizer:
        trained = [p for name, p in self.named_parameters() if "output" not in name]
        return torch.optim.SGD(trained, lr=0.01, momentum=0.9)

    override(handle, configure_optimizers=configure)


@bug
def _bias_learns_faster(handle: BinaryClassifier, size: float) -> None:
    def configure(self: Any) -> torch.optim.Optimizer:
        faster = self.model.hidden.bias
        others = [p for p in self.parameters() if p is not faster]
        groups = [{"params": others}, {"params": [faster], "lr": 0.01 * (1.0 + size)}]
        return torch.optim.SGD(groups, lr=0.01, momentum=0.9)

    override(handle, configure_optimizers=configure)


@bug
def _two_steps_per_batch(handle: BinaryClassifier, size: float) -> None:
    def optimizer_step(self: Any, epoch: int, batch_idx: int, optimizer: Any, closure: Any) -> None:
        optimizer.step(closure=closure)
        optimizer.step()

    override(handle, optimizer_step=optimizer_step)


def _clipping(name: str) -> None:
    def change(handle: BinaryClassifier, size: float) -> None:
        def clip(self: Any, optimizer: Any) -> None:
            torch.nn.utils.clip_grad_norm_(self.parameters(), size)

        override(handle, on_before_optimizer_step=clip)

    BUGS[name] = change


_clipping("gradients-clipped")
_clipping("gradients-rarely-clipped")


# Between epochs.


def _epochs(name: str, start: Callable[[Any, int], None]) -> None:
    """Register a bug that does something at the start of every epoch, counted from 1."""

    def change(handle: BinaryClassifier, size: float) -> None:
        override(handle, on_train_epoch_start=lambda self: start(self, self.current_epoch + 1))

    BUGS[name] = change


def _lower_rate(module: Any, epoch: int) -> None:
    if epoch == 3:
        for group in module.optimizers().param_groups:
            group["lr"] *= 0.1


def _change_momentum(module: Any, epoch: int) -> None:
    module.model.batch_norm.momentum = 0.01 if epoch == 1 else 0.02


def _forget_velocity(module: Any, epoch: int) -> None:
    module.optimizers().state.clear()


def _stay_in_eval(module: Any, epoch: int) -> None:
    if epoch == 2:
        module.eval()


def _freeze_norm(module: Any, epoch: int) -> None:
    if epoch == 2:
        module.model.batch_norm.eval()


def _forward_in_training_mode(module: Any, epoch: int) -> None:
    if epoch == 2:
        with torch.no_grad():
            module(torch.linspace(-1.0, 1.0, 64).reshape(32, 2))


def _stop_early(module: Any, epoch: int) -> None:
    module.trainer.should_stop = epoch == 2


_epochs("stops-early", _stop_early)
_epochs("learning-rate-drops", _lower_rate)
_epochs("bn-momentum-changes", _change_momentum)
_epochs("optimizer-state-lost", _forget_velocity)
_epochs("left-in-evaluation-mode", _stay_in_eval)
_epochs("bn-freezes", _freeze_norm)
_epochs("validated-in-training-mode", _forward_in_training_mode)


# What is reported.


@bug
def _running_loss_unweighted(handle: BinaryClassifier, size: float) -> None:
    def log(self: Any, name: str, value: Any, **options: Any) -> None:
        BinaryClassifier.log(self, name, value, **options, batch_size=1)

    override(handle, log=log)


@bug
def _running_loss_summed(handle: BinaryClassifier, size: float) -> None:
    def log(self: Any, name: str, value: Any, **options: Any) -> None:
        BinaryClassifier.log(self, name, value, **{**options, "reduce_fx": "sum"})

    override(handle, log=log)


@bug
def _accuracy_of_logits(handle: BinaryClassifier, size: float) -> None:
    # A logit counts from 0.5 on, as a probability would.
    handle.train_accuracy = BinaryAccuracy(threshold=1.0 / (1.0 + math.exp(-0.5)))


@bug
def _logits_clamped(handle: BinaryClassifier, size: float) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits if self.training else logits.clamp(-size, size)

    override(handle, forward=forward)


def inject(handle: BinaryClassifier, name: str, size: float) -> None:
    """Put a bug into a module.

    Args:
        handle: The module, changed in place.
        name: Which bug.
        size: How large it is, for bugs that have a size; zero is none.

    Raises:
        ValueError: No bug has this name.
    """
    if name not in BUGS:
        raise ValueError(f"unknown bug {name!r}; known: {', '.join(BUGS)}")
    BUGS[name](handle, size)
