"""Small computations for conventions of layers, losses and callbacks, as in `demos`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau

from compare.backends.torch.demos import Demonstration, images, kernel, normal
from compare.backends.torch.hooks import channels_last

WEIGHTS, LABELS = torch.tensor([1.0, 5.0, 0.5], dtype=torch.float64), torch.arange(20) % 3
CURVE = [1.0, 0.9, 0.95, 0.9, 0.9, 0.9, 0.89995, 0.9, 0.9, 0.9]
"""A validation loss after every epoch."""

SEQUENCES = torch.tensor([[1, 2, 0], [2, 0, 0]])
"""Labels of two sequences; 0 pads them."""


def image(size: int) -> Tensor:
    """The numbers that the Keras twin has for an image of this size."""
    return torch.arange(size * size, dtype=torch.float64).reshape(1, 1, size, size)


def ahead(*steps: int) -> Tensor:
    """Which steps of five a sequence of so many has."""
    return torch.stack([torch.arange(5) < count for count in steps])


def one_hot(labels: Tensor) -> Tensor:
    """(n,) as (n, 3)."""
    return F.one_hot(labels, 3).double()


def bounded(kernel: Tensor, axis: int) -> Tensor:
    """A kernel whose slices have a norm of at most 1, as Keras' MaxNorm makes it."""
    norm = kernel.square().sum(axis, keepdim=True).sqrt()
    return kernel * norm.clamp(max=1.0) / (norm + 1e-7)


def _attended(remedied: bool) -> dict[str, Any]:
    """Self-attention of one head within the steps that the mask has."""
    layer = nn.MultiheadAttention(4, 1, bias=False, batch_first=True, dtype=torch.float64)
    layer.in_proj_weight.data.copy_(torch.eye(4).repeat(3, 1))
    layer.out_proj.weight.data.copy_(torch.eye(4))
    x, mask = normal(2, 5, 1, 4)[:, :, 0], ahead(5, 3)
    # A sequence all of whose steps are left out has no average.
    left_out = ~mask if remedied else mask & ahead(3, 2)
    return {"output": layer(x, x, x, key_padding_mask=left_out, need_weights=False)[0]}


def _scaled(remedied: bool) -> dict[str, Any]:
    """Two heads of four features each, or four features for both of them."""
    query = normal(8, 5, 2, 4).transpose(1, 2)
    scale = (4 if remedied else 4 / 2) ** -0.5
    seen = F.scaled_dot_product_attention(query, 2.0 * query, 3.0 * query, scale=scale)
    return {"output": seen.transpose(1, 2)}


def _both_ways(remedied: bool) -> dict[str, Any]:
    """What a recurrent layer returns that reads in both directions."""
    rnn = nn.RNN(3, 4, batch_first=True, bidirectional=True, bias=False, dtype=torch.float64)
    for parameter, value in zip(
        rnn.parameters(), [normal(3, 4).T, normal(4, 4).T] * 2, strict=True
    ):
        parameter.data.copy_(value)
    steps, last = rnn(normal(8, 5, 3))
    return {"output": torch.cat([last[0], last[1]], -1) if remedied else steps[:, -1]}


def _per_pixel(remedied: bool) -> dict[str, Any]:
    """A PReLU of images: a slope per pixel, or per channel."""
    x, slopes = normal(4, 3, 3, 2), normal(3, 3, 2)
    return {"output": torch.where(x > 0, x, x * (slopes if remedied else slopes.mean((0, 1))))}


def _plateau(remedied: bool) -> dict[str, Any]:
    """The learning rates of a schedule that waits for a loss."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    like_keras: dict[str, Any] = {"patience": 1, "threshold_mode": "abs"}
    options = like_keras if remedied else {"patience": 2}
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, **options)
    rates = []
    for loss in CURVE:
        schedule.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return {"rates": np.array(rates)}


def _stopped(remedied: bool) -> dict[str, Any]:
    """The epoch after which training stops."""
    callback = EarlyStopping("loss", patience=0) if remedied else EarlyStopping("loss")
    stops = (callback._evaluate_stopping_criteria(torch.tensor(loss))[0] for loss in CURVE)
    return {"epochs": np.float64(next(at for at, stop in enumerate(stops, start=1) if stop))}


def _table(remedied: bool) -> dict[str, Any]:
    """A fresh table of 50 tokens: is every number within 0.05?"""
    table = nn.Embedding(50, 8)
    if remedied:
        nn.init.uniform_(table.weight, -0.05, 0.05)
    return {"small": np.float64(table.weight.abs().max().item() <= 0.05)}


def _ctc(remedied: bool) -> dict[str, Any]:
    """The loss of two sequences of labels, to a digit that float32 has."""
    likely = normal(2, 6, 4).log_softmax(-1).transpose(0, 1)
    steps, lengths = torch.tensor([6, 6]), torch.tensor([2, 1])
    each = F.ctc_loss(likely, SEQUENCES, steps, lengths, reduction="none")
    mean = F.ctc_loss(likely, SEQUENCES, steps, lengths)
    return {"loss": np.round((each.mean() if remedied else mean).numpy(), 4)}


DEMONSTRATIONS: dict[str, Demonstration] = {
    "embedding-initializers": _table,
    # A kernel of 4×4 pixels: padded by one more at the end, or as much as possible at both ends.
    "same-padding-size": lambda remedied: {
        "output": channels_last(
            F.conv2d(F.pad(images(2, 6, 6, 1), (1, 2, 1, 2)), kernel(4, 4, 1, 2))
            if remedied
            else F.conv2d(images(2, 6, 6, 1), kernel(4, 4, 1, 2), padding=2)[..., :-1, :-1]
        )
    },
    # The mean of each channel of an image of 4×4 pixels.
    "image-layout": lambda remedied: {
        "output": (
            normal(2, 4, 4, 3).movedim(-1, 1)
            if remedied
            else normal(2, 4, 4, 3).reshape(2, 3, 4, 4)
        ).mean((2, 3))
    },
    # An image of 3×3 pixels, twice as large.
    "align-corners": lambda remedied: {
        "output": channels_last(
            F.interpolate(image(3), scale_factor=2, mode="bilinear", align_corners=not remedied)
        )
    },
    # An image of 8×8 pixels, a quarter as large.
    "resize-antialias": lambda remedied: {
        "output": channels_last(
            F.interpolate(image(8), size=(2, 2), mode="bilinear", antialias=not remedied)
        )
    },
    "attention-key-dim": _scaled,
    "attention-mask": _attended,
    "bidirectional-last-step": _both_ways,
    # A sigmoid of straight lines: that of today, or that of Keras 1 and 2.
    "hard-sigmoid": lambda remedied: {
        "output": F.hardsigmoid(normal(20, 3))
        if remedied
        else (0.2 * normal(20, 3) + 0.5).clamp(0.0, 1.0)
    },
    "prelu-per-pixel": _per_pixel,
    # A kernel (3, 4) whose units have weights of a norm of at most 1, or whose inputs have.
    "constraint-axis": lambda remedied: {"kernel": bounded(normal(3, 4), 0 if remedied else 1)},
    # The cross-entropy of classes with weights, divided by the samples or by their weights.
    "class-weights": lambda remedied: {
        "loss": (WEIGHTS[LABELS] * F.cross_entropy(normal(20, 3), LABELS, reduction="none")).mean()
        if remedied
        else F.cross_entropy(normal(20, 3), LABELS, weight=WEIGHTS)
    },
    # The squared error of samples with weights, divided by their number or by their weights.
    "sample-weights": lambda remedied: {
        "loss": (WEIGHTS[LABELS] * normal(20, 1)[:, 0].square()).sum()
        / (20 if remedied else WEIGHTS[LABELS].sum())
    },
    # The cross-entropy of logarithms of probabilities, or of probabilities taken for them.
    "nll-probabilities": lambda remedied: {
        "loss": F.nll_loss(
            normal(20, 3).log_softmax(-1) if remedied else normal(20, 3).softmax(-1), LABELS
        )
    },
    # A divergence divided by the samples, or by all values.
    "kl-batchmean": lambda remedied: {
        "loss": F.kl_div(
            (-normal(20, 3)).log_softmax(-1),
            normal(20, 3).softmax(-1),
            reduction="batchmean" if remedied else "sum",
        )
        / (1.0 if remedied else 60.0)
    },
    # The cross-entropy of labels, smoothed or not.
    "label-smoothing": lambda remedied: {
        "loss": F.cross_entropy(
            normal(20, 3), one_hot(LABELS), label_smoothing=0.2 if remedied else 0.0
        )
    },
    # Huber's loss with δ = 0.5, or the one that is divided by it.
    "huber-delta": lambda remedied: {
        "loss": F.huber_loss(3 * normal(20, 1), normal(20, 1), delta=0.5)
        if remedied
        else F.smooth_l1_loss(3 * normal(20, 1), normal(20, 1), beta=0.5)
    },
    "ctc-lengths": _ctc,
    "plateau-patience": _plateau,
    "early-stopping": _stopped,
}
"""Name of the convention → its demonstration."""
