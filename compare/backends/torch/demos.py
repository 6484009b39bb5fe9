"""Small computations for the conventions that the tutorial's networks cannot show.

Each has a twin of the same name in `keras.demos`, from the same numbers. With the remedy in place
both return the same float64 arrays, to rounding; without it they do not. Some remedies belong on
Keras' side alone: then Torch computes the same either way.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.functional.classification import binary_accuracy

from bn_torch.data import PlannedSampler
from bn_torch.norm import BiasedBatchNorm
from compare.backends.torch.hooks import channels_last
from compare.backends.torch.weights import named_tensors, read_weights
from compare.data import Array

Demonstration = Callable[[bool], dict[str, Any]]
"""From whether the remedy is in place to arrays, tensors or numbers by name."""

Before = Callable[[torch.optim.Optimizer, int], object]
"""Called before each step of an optimizer, when gradients are known."""

STEPS = 30
RATE, LOWER_RATE, DECAY, LARGEST_NORM = 0.05, 0.005, 0.125, 0.5

TOKENS = torch.tensor([[1, 2, 3, 1], [2, 1, 1, 0], [3, 4, 0, 0], [4, 0, 0, 0]])
"""Four sequences; token 0 pads them at the end."""


def normal(*shape: int) -> Tensor:
    """Normal numbers in float64: the same for a shape in every call, and in the Keras twin."""
    return torch.from_numpy(np.random.default_rng(shape).standard_normal(shape))


def images(*shape: int) -> Tensor:
    """The numbers that the Keras twin draws for images of this shape (n, height, width, c)."""
    return normal(*shape).permute(0, 3, 1, 2)


def kernel(*shape: int) -> Tensor:
    """The numbers that the Keras twin draws for a kernel of this shape (height, width, …)."""
    return normal(*shape).permute(3, 2, 0, 1)


def samples() -> tuple[Tensor, Tensor]:
    """Inputs (20, 3), the last of them tiny, as from a unit that hardly fires; targets (20, 1)."""
    return normal(20, 3) * torch.tensor([1.0, 1.0, 1e-6], dtype=torch.float64), normal(20, 1)


def filled(**parts: nn.Module) -> nn.Sequential:
    """A model of these layers with kernels set in Keras' layout, and biases zero."""
    model = nn.Sequential()
    for name, part in parts.items():
        model.add_module(name, part)
    for name, tensor in named_tensors(model).items():
        if name.endswith("kernel"):
            tensor.copy_(normal(*tensor.shape))
        elif name.endswith("/bias"):
            tensor.zero_()
    return model


def dense() -> nn.Sequential:
    """Three inputs, one output."""
    return filled(output=nn.Linear(3, 1, dtype=torch.float64))


def keras_norm(channels: int, *, scale: bool = True) -> BiasedBatchNorm:
    """Batch normalization with the defaults of Keras, in float64."""
    norm = BiasedBatchNorm(channels, eps=1e-3, momentum=1.0 - 0.99).double()
    if not scale:
        norm.weight = None
    return norm


def embedding(**options: Any) -> nn.Embedding:
    """Five tokens of three features."""
    table = nn.Embedding(5, 3, dtype=torch.float64, **options)
    table.weight.data.copy_(normal(5, 3))
    return table


def recurrent(layer: type[nn.RNN] | type[nn.GRU], *weights: Tensor) -> Any:
    """A recurrent layer of three features and four units with these weights, and biases zero."""
    rnn = layer(3, 4, batch_first=True, dtype=torch.float64)
    for p in rnn.parameters():
        nn.init.zeros_(p)
    for p, value in zip(rnn.parameters(), weights, strict=False):
        p.data.copy_(value)
    return rnn


def gru(*weights: Tensor) -> dict[str, Tensor]:
    """The last output of a GRU of four units with these weights."""
    return {"output": recurrent(nn.GRU, *weights)(normal(8, 5, 3))[0][:, -1]}


def reset_first(weight: Tensor) -> Tensor:
    """Keras' gates z, r, h as Torch has them: r, z, n."""
    update, reset, new = weight.chunk(3)
    return torch.cat((reset, update, new))


def reset_before(x: Tensor, kernel: Tensor, recurrent: Tensor) -> Tensor:
    """The last state of a GRU that resets its state before the recurrent kernel."""
    h = x.new_zeros(len(x), recurrent.shape[0])
    update, reset, new = recurrent.chunk(3, dim=1)
    for step in x.unbind(dim=1):
        z, r, n = (step @ kernel).chunk(3, dim=1)
        z, r = torch.sigmoid(z + h @ update), torch.sigmoid(r + h @ reset)
        h = z * h + (1.0 - z) * torch.tanh(n + (r * h) @ new)
    return h


def statistics(norm: Any, *batches: Tensor) -> dict[str, Tensor]:
    """The running statistics of batch normalization after some batches in training mode."""
    for batch in batches:
        norm(batch)
    return {"moving_mean": norm.running_mean, "moving_variance": norm.running_var}


def sgd(**options: Any) -> Callable[..., torch.optim.Optimizer]:
    """What makes SGD with momentum 0.9 of parameters."""
    return partial(torch.optim.SGD, **{"lr": RATE, "momentum": 0.9, **options})


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: tuple[Tensor, Tensor],
    before: Before = lambda optimizer, step: None,
) -> dict[str, Array]:
    """The weights after 30 steps on the mean squared error."""
    x, y = data
    for step in range(STEPS):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        before(optimizer, step)
        optimizer.step()
    return read_weights(model)


def trained_dense(
    optimizer: Callable[..., torch.optim.Optimizer],
    before: Before = lambda optimizer, step: None,
) -> dict[str, Array]:
    """The weights of three inputs and an output after training."""
    model = dense()
    return train(model, optimizer(model.parameters()), samples(), before)


def trained_norm(norm: nn.Module) -> dict[str, Array]:
    """All weights after training a dense layer, `norm` and a dense layer."""
    hidden = nn.Linear(3, 4, dtype=torch.float64)
    output = nn.Linear(4, 1, dtype=torch.float64)
    model = filled(hidden=hidden, batch_norm=norm, output=output)
    trained = [p for p in model.parameters() if p.requires_grad]
    return train(model, torch.optim.SGD(trained, lr=0.05), (normal(20, 3), normal(20, 1)))


def trained_tokens(
    table: nn.Embedding, rate: float, before: Before = lambda optimizer, step: None
) -> dict[str, Tensor]:
    """The table of tokens after training towards random targets."""
    optimizer = torch.optim.SGD(table.parameters(), lr=rate)
    train(table, optimizer, (TOKENS, normal(4, 4, 3)), before)
    return {"tokens": table.weight}


# What a step does beside the optimizer's own.


def keras_epsilon(adam: torch.optim.Optimizer, step: int) -> None:
    """Adam's epsilon as Keras has it, which the correction of its moments does not touch."""
    adam.param_groups[0]["eps"] = 1e-7 / math.sqrt(1.0 - 0.999 ** (step + 1))


def keras_rmsprop() -> Before:
    """What makes each step of plain SGD one of Keras' RMSprop."""
    squares: dict[Tensor, Tensor] = {}

    def rescale(sgd: torch.optim.Optimizer, step: int) -> None:
        for p in sgd.param_groups[0]["params"]:
            square = squares.setdefault(p, torch.zeros_like(p))
            square.mul_(0.9).add_((1.0 - 0.9) * p.grad**2)
            p.grad /= torch.sqrt(square + 1e-7)

    return rescale


@torch.no_grad()
def shrink(sgd: torch.optim.Optimizer, step: int) -> None:
    """Decay the weights beside the gradient step."""
    for p in sgd.param_groups[0]["params"]:
        p.sub_(p * DECAY * RATE)


def clip_together(sgd: torch.optim.Optimizer, step: int) -> None:
    """Bound the norm of all gradients."""
    nn.utils.clip_grad_norm_(sgd.param_groups[0]["params"], LARGEST_NORM)


def clip_each(sgd: torch.optim.Optimizer, step: int) -> None:
    """Bound the norm of each weight's gradient."""
    for p in sgd.param_groups[0]["params"]:
        p.grad *= LARGEST_NORM / torch.clamp(p.grad.norm(), min=LARGEST_NORM)


DEMONSTRATIONS: dict[str, Demonstration] = {
    # Batch normalization frozen: in evaluation mode too, or only left out of the training.
    "bn-frozen": lambda remedied: trained_norm(
        keras_norm(4).requires_grad_(False).train(not remedied)
    ),
    # Batch normalization that learns a shift and no scale, or both.
    "bn-center-only": lambda remedied: {
        "batch_norm/gamma": np.ones(4),
        **trained_norm(keras_norm(4, scale=not remedied)),
    },
    # A batch of four, then one of a single sample: Torch's own layer raises on the second, and
    # leaving it out is the usual way around.
    "bn-batch-of-one": lambda remedied: statistics(
        keras_norm(3), normal(4, 3), *([normal(1, 3)] if remedied else [])
    ),
    # Sequences (8, 4, 4) of as many steps as features.
    "bn-axis": lambda remedied: {
        "output": keras_norm(4)(normal(8, 4, 4).mT).mT
        if remedied
        else keras_norm(4)(normal(8, 4, 4))
    },
    # Padded sequences; Torch knows no mask, and the remedy is on Keras' side.
    "bn-mask": lambda remedied: statistics(keras_norm(3), normal(4, 5, 3).mT),
    # A GRU of four units with Keras' weights, gates reordered or not.
    "gru-gate-order": lambda remedied: gru(
        *(
            reset_first(weight) if remedied else weight
            for weight in (normal(3, 12).T, normal(4, 12).T, *normal(2, 12))
        )
    ),
    # A GRU of four units with Keras' weights, in a cell by hand or in Torch's.
    "gru-reset-after": lambda remedied: (
        {"output": reset_before(normal(8, 5, 3), normal(3, 12), normal(4, 12))}
        if remedied
        else gru(reset_first(normal(3, 12).T), reset_first(normal(4, 12).T))
    ),
    # A 3×3 convolution of stride 2 over 6×6 images, padded to half the size.
    "same-padding-stride": lambda remedied: {
        "output": channels_last(
            F.conv2d(F.pad(images(2, 6, 6, 1), (0, 1, 0, 1)), kernel(3, 3, 1, 2), stride=2)
            if remedied
            else F.conv2d(images(2, 6, 6, 1), kernel(3, 3, 1, 2), stride=2, padding=1)
        )
    },
    # Averages over 3×3 windows, at the border over fewer pixels or over zeros too.
    "average-pool-same": lambda remedied: {
        "output": channels_last(
            F.avg_pool2d(images(2, 6, 6, 1), 3, stride=1, padding=1, count_include_pad=not remedied)
        )
    },
    # A transposed 3×3 convolution of stride 2, cropped at the end or at the beginning.
    "transposed-padding": lambda remedied: {
        "output": channels_last(
            F.conv_transpose2d(images(2, 4, 4, 1), kernel(3, 3, 2, 1), stride=2)[..., :-1, :-1]
            if remedied
            else F.conv_transpose2d(
                images(2, 4, 4, 1), kernel(3, 3, 2, 1), stride=2, padding=1, output_padding=1
            )
        )
    },
    # A leaky ReLU with Keras' slope, or Torch's default.
    "leaky-relu-slope": lambda remedied: {
        "output": F.leaky_relu(normal(20, 3), float(np.float32(0.3)) if remedied else 0.01)
    },
    # A leaky ReLU of large values, its slope rounded to float32 or not.
    "float32-constants": lambda remedied: {
        "output": F.leaky_relu(100.0 * normal(20, 3), float(np.float32(0.3)) if remedied else 0.3)
    },
    # A dense layer made double before its weights are loaded, or after.
    "float64-plumbing": lambda remedied: {
        "output": filled(
            dense=nn.Linear(3, 4, dtype=torch.float64 if remedied else torch.float32)
        ).double()(normal(20, 3))
    },
    # Adam's epsilon: on Torch's side the remedy is to set it before every step.
    "adam-epsilon": lambda remedied: trained_dense(
        partial(torch.optim.Adam, lr=RATE), *([keras_epsilon] if remedied else [])
    ),
    # The penalty of a regularizer, its factor rounded to float32 or not.
    "float32-inside": lambda remedied: {
        "penalty": (float(np.float32(0.1)) if remedied else 0.1)
        * (100.0 * normal(20, 3)).square().sum()
    },
    # Adam's betas, with Keras' epsilon: the remedy is on Keras' side.
    "adam-beta-float32": lambda remedied: trained_dense(
        partial(torch.optim.Adam, lr=RATE), keras_epsilon
    ),
    # RMSprop as Keras computes it, or Torch's.
    "rmsprop-epsilon": lambda remedied: (
        trained_dense(sgd(momentum=0.0), keras_rmsprop())
        if remedied
        else trained_dense(partial(torch.optim.RMSprop, lr=RATE))
    ),
    # RMSprop as Keras computes it, with its default learning rate or with Torch's.
    "optimizer-defaults": lambda remedied: trained_dense(
        sgd(lr=0.001 if remedied else 0.01, momentum=0.0), keras_rmsprop()
    ),
    # Weights that shrink beside the gradient step, or through the gradient and its momentum.
    "weight-decay": lambda remedied: (
        trained_dense(sgd(), shrink) if remedied else trained_dense(sgd(weight_decay=DECAY))
    ),
    # The norm of each weight's gradient bounded, or the norm of them all.
    "gradient-clipping": lambda remedied: trained_dense(
        sgd(), clip_each if remedied else clip_together
    ),
    # A table all of whose rows are trained, or all but that of padding.
    "padding-idx": lambda remedied: trained_tokens(
        embedding(padding_idx=None if remedied else 0), 0.5
    ),
    # RMSprop as Keras computes it for dense gradients: the remedy is on Keras' side.
    "sparse-gradients": lambda remedied: trained_tokens(embedding(), 0.01, keras_rmsprop()),
    # The cross-entropy of logits, or of what is a softmax already.
    "cross-entropy-logits": lambda remedied: {
        "loss": F.cross_entropy(
            normal(20, 3) if remedied else normal(20, 3).softmax(dim=1), torch.arange(20) % 3
        )
    },
}
"""Name of the convention → its demonstration; what takes more than one expression is below."""


def demonstration(function: Demonstration) -> Demonstration:
    """Register a demonstration under its name: `bn_axis` shows the convention `bn-axis`."""
    DEMONSTRATIONS[function.__name__.replace("_", "-")] = function
    return function


class _BiasedSubclass(nn.BatchNorm1d):
    """The same layer, as a subclass of Torch's."""

    forward: Any = BiasedBatchNorm.forward
    _track = BiasedBatchNorm._track


@demonstration
def bn_sync(remedied: bool) -> dict[str, Any]:
    """What Lightning's `sync_batchnorm` leaves of a layer that tracks the biased variance."""
    subclass = _BiasedSubclass(3, eps=1e-3, momentum=1.0 - 0.99).double()
    plugin = TorchSyncBatchNorm()
    norm = plugin.revert(plugin.apply(keras_norm(3) if remedied else subclass))
    return statistics(norm, normal(4, 3), normal(5, 3))


@demonstration
def mask_zero(remedied: bool) -> dict[str, Any]:
    """A recurrent layer that stops at the end of each sequence, or sees zeros behind it."""
    rnn = recurrent(nn.RNN, normal(3, 4).T, normal(4, 4).T)
    steps: Any = embedding(padding_idx=0)(TOKENS) * (TOKENS != 0).unsqueeze(-1)
    if remedied:
        lengths = (TOKENS != 0).sum(dim=1)
        steps = pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
    return {"output": rnn(steps)[1][0]}


@demonstration
def norm_epsilon(remedied: bool) -> dict[str, Any]:
    """Layer and group normalization of four features with Keras' epsilon, or Torch's."""
    x, eps = normal(8, 4), 1e-3 if remedied else 1e-5
    norms = {"layer": nn.LayerNorm(4, eps), "group": nn.GroupNorm(2, 4, eps)}
    return {name: norm.double()(x) for name, norm in norms.items()}


@demonstration
def shuffle_seed(remedied: bool) -> dict[str, Any]:
    """The order of ten samples in two epochs."""
    plan = np.stack([np.random.default_rng([0, epoch]).permutation(10) for epoch in range(2)])
    torch.manual_seed(0)
    data = TensorDataset(torch.arange(10))
    sampler = PlannedSampler(plan)
    loader = DataLoader(data, sampler=sampler) if remedied else DataLoader(data, shuffle=True)
    orders = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        orders.append([float(sample) for (sample,) in loader])
    return {"orders": np.array(orders), "same_again": np.float64(orders[0] == orders[1])}


@demonstration
def sgd_learning_rate_change(remedied: bool) -> dict[str, Any]:
    """A learning rate that drops half way, with momentum."""

    def lower(optimizer: torch.optim.Optimizer, step: int) -> None:
        if step == STEPS // 2:
            optimizer.param_groups[0]["lr"] = LOWER_RATE
            for state in optimizer.state.values() if remedied else ():
                state["momentum_buffer"] *= RATE / LOWER_RATE

    return trained_dense(sgd(), lower)


@demonstration
def learning_rate_schedule(remedied: bool) -> dict[str, Any]:
    """An exponential schedule that advances with every step, or with every epoch of ten steps."""
    model = dense()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    interval = 1 if remedied else 10

    def advance(optimizer: torch.optim.Optimizer, step: int) -> None:
        if step and step % interval == 0:
            scheduler.step()

    return train(model, optimizer, samples(), advance)


@demonstration
def regularizers_in_loss(remedied: bool) -> dict[str, Any]:
    """The reported loss, with or without the penalty on the kernel."""
    model, (x, y) = dense(), samples()
    loss = F.mse_loss(model(x), y)
    penalty = DECAY * model.get_parameter("output.weight").square().sum()
    return {"loss": loss + penalty if remedied else loss}


@demonstration
def broadcast_loss(remedied: bool) -> dict[str, Any]:
    """Predictions (20, 1) against targets (20,)."""
    prediction, target = normal(20, 1), normal(20, 3)[:, 0]
    with warnings.catch_warnings():
        # The warning is all that tells a porter, and here it is meant.
        warnings.filterwarnings("ignore", message="Using a target size")
        return {"loss": F.mse_loss(prediction, target.unsqueeze(1) if remedied else target)}


@demonstration
def loss_from_logits(remedied: bool) -> dict[str, Any]:
    """Loss and gradient where the sigmoid has saturated."""
    logits = torch.tensor([-50.0, -2.0, 2.0, 50.0], dtype=torch.float64, requires_grad=True)
    labels = torch.zeros_like(logits)
    if remedied:
        loss = F.binary_cross_entropy_with_logits(logits, labels)
    else:
        loss = F.binary_cross_entropy(logits.sigmoid(), labels)
    loss.backward()
    return {"loss": loss, "gradient": logits.grad}


@demonstration
def accuracy_threshold(remedied: bool) -> dict[str, Any]:
    """Accuracy where probabilities are exactly 0.5, as those of a network that starts at zero."""
    probability = torch.tensor([0.0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 1.0], dtype=torch.float64)
    label = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    if remedied:
        return {"accuracy": np.float64(binary_accuracy(probability, label))}
    return {"accuracy": ((probability >= 0.5) == label).double().mean()}
