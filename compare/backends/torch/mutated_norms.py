"""Port bugs of batch normalization."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bn_torch.module import BinaryClassifier
from bn_torch.norm import BiasedBatchNorm
from compare.backends.torch.bugs import BUGS, bug


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
