"""Small computations for the conventions that the tutorial's networks cannot show.

Each has a twin of the same name in `keras.demos`, from the same numbers. With the remedy in place
both return the same float64 arrays, to rounding; without it they do not. Some remedies belong on
Keras' side alone: then Torch computes the same either way.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
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
from compare.backends.torch.structures import to_numpy
from compare.backends.torch.weights import named_tensors, read_weights
from compare.data import Array

Demonstration = Callable[[bool], dict[str, Any]]
"""From whether the remedy is in place to arrays, tensors or numbers by name."""

DEMONSTRATIONS: dict[str, Callable[[bool], dict[str, Array]]] = {}
"""Name of the convention → function of whether its remedy is in place."""

STEPS = 30
RATE, LOWER_RATE, DECAY, LARGEST_NORM = 0.05, 0.005, 0.125, 0.5

TOKENS = torch.tensor([[1, 2, 3, 1], [2, 1, 1, 0], [3, 4, 0, 0], [4, 0, 0, 0]])
"""Four sequences; token 0 pads them at the end."""


def demonstration(function: Demonstration) -> Demonstration:
    """Register a demonstration under its name: `bn_axis` shows the convention `bn-axis`."""

    def arrays(remedied: bool) -> dict[str, Array]:
        return {
            name: to_numpy(value) if isinstance(value, Tensor) else np.asarray(value)
            for name, value in function(remedied).items()
        }

    DEMONSTRATIONS[function.__name__.replace("_", "-")] = arrays
    return function


# What they share: numbers, small models, and training.


def normal(*shape: int) -> Tensor:
    """Normal numbers in float64: the same for a shape in every call, and in the Keras twin."""
    return torch.from_numpy(np.random.default_rng(shape).standard_normal(shape))


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


def keras_norm(channels: int) -> BiasedBatchNorm:
    """Batch normalization with the defaults of Keras, in float64."""
    return BiasedBatchNorm(channels, eps=1e-3, momentum=1.0 - 0.99).double()


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


def sgd(model: nn.Module, **options: Any) -> torch.optim.SGD:
    """SGD with momentum 0.9."""
    return torch.optim.SGD(model.parameters(), **{"lr": RATE, "momentum": 0.9, **options})


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: tuple[Tensor, Tensor],
    before: Callable[[int], None] = lambda step: None,
) -> None:
    """30 steps on the mean squared error; `before` runs before each, when gradients are known."""
    x, y = data
    for step in range(STEPS):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        before(step)
        optimizer.step()


def trained_dense(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    before: Callable[[int], None] = lambda step: None,
) -> dict[str, Array]:
    """The weights of three inputs and an output after training."""
    train(model, optimizer, samples(), before)
    return read_weights(model)


def trained_norm(norm: nn.Module) -> dict[str, Array]:
    """All weights after training a dense layer, `norm` and a dense layer."""
    hidden = nn.Linear(3, 4, dtype=torch.float64)
    output = nn.Linear(4, 1, dtype=torch.float64)
    model = filled(hidden=hidden, batch_norm=norm, output=output)
    trained = [p for p in model.parameters() if p.requires_grad]
    train(model, torch.optim.SGD(trained, lr=0.05), (normal(20, 3), normal(20, 1)))
    return read_weights(model)


def trained_tokens(
    table: nn.Embedding, rate: float, before: Callable[[int], None] = lambda step: None
) -> dict[str, Tensor]:
    """The table of tokens after training towards random targets."""
    train(table, sgd(table, lr=rate, momentum=0.0), (TOKENS, normal(4, 4, 3)), before)
    return {"tokens": table.weight}


def statistics(norm: Any, *batches: Tensor) -> dict[str, Tensor]:
    """The running statistics of batch normalization after some batches in training mode."""
    for batch in batches:
        norm(batch)
    return {"moving_mean": norm.running_mean, "moving_variance": norm.running_var}


def gradient_of(p: Tensor) -> Tensor:
    """The gradient of a tensor that has one."""
    assert p.grad is not None
    return p.grad


def keras_rmsprop(model: nn.Module) -> Callable[[int], None]:
    """What makes each step of plain SGD one of Keras' RMSprop."""
    squares = {p: torch.zeros_like(p) for p in model.parameters()}

    def rescale(step: int) -> None:
        for p, square in squares.items():
            gradient = gradient_of(p)
            square.mul_(0.9).add_((1.0 - 0.9) * gradient**2)
            gradient /= torch.sqrt(square + 1e-7)

    return rescale


# Batch normalization.


@demonstration
def bn_frozen(remedied: bool) -> dict[str, Any]:
    """Batch normalization frozen: in evaluation mode too, or only left out of the training."""
    norm = keras_norm(4).requires_grad_(False)
    return trained_norm(norm.eval() if remedied else norm)


@demonstration
def bn_center_only(remedied: bool) -> dict[str, Any]:
    """Batch normalization that learns a shift and no scale, or both."""
    norm = keras_norm(4)
    if remedied:
        norm.weight = None
    return {"batch_norm/gamma": np.ones(4), **trained_norm(norm)}


@demonstration
def bn_batch_of_one(remedied: bool) -> dict[str, Any]:
    """A batch of four, then one of a single sample."""
    batches = [normal(4, 3), normal(1, 3)]
    # Torch's own layer raises on the second, and leaving it out is the usual way around.
    return statistics(keras_norm(3), *(batches if remedied else batches[:1]))


@demonstration
def bn_axis(remedied: bool) -> dict[str, Any]:
    """Sequences (8, 4, 4) of as many steps as features."""
    x = normal(8, 4, 4)
    if remedied:
        return {"output": keras_norm(4)(x.transpose(1, 2)).transpose(1, 2)}
    return {"output": keras_norm(4)(x)}


@demonstration
def bn_mask(remedied: bool) -> dict[str, Any]:
    """Padded sequences; Torch knows no mask, and the remedy is on Keras' side."""
    return statistics(keras_norm(3), normal(4, 5, 3).transpose(1, 2))


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


# Recurrent layers.


@demonstration
def gru_gate_order(remedied: bool) -> dict[str, Any]:
    """A GRU of four units with Keras' weights, gates reordered or not."""
    weights = [normal(3, 12).T, normal(4, 12).T, *normal(2, 12)]
    gru = recurrent(nn.GRU, *(_reset_first(w) if remedied else w for w in weights))
    return {"output": gru(normal(8, 5, 3))[0][:, -1]}


@demonstration
def gru_reset_after(remedied: bool) -> dict[str, Any]:
    """A GRU of four units with Keras' weights, in a cell by hand or in Torch's."""
    x, kernel, recurrent_kernel = normal(8, 5, 3), normal(3, 12), normal(4, 12)
    if remedied:
        return {"output": _reset_before(x, kernel, recurrent_kernel)}
    gru = recurrent(nn.GRU, _reset_first(kernel.T), _reset_first(recurrent_kernel.T))
    return {"output": gru(x)[0][:, -1]}


def _reset_first(weight: Tensor) -> Tensor:
    """Keras' gates z, r, h as Torch has them: r, z, n."""
    update, reset, new = weight.chunk(3)
    return torch.cat((reset, update, new))


def _reset_before(x: Tensor, kernel: Tensor, recurrent: Tensor) -> Tensor:
    """The last state of a GRU that resets its state before the recurrent kernel."""
    h = x.new_zeros(len(x), recurrent.shape[0])
    update, reset, new = recurrent.chunk(3, dim=1)
    for step in x.unbind(dim=1):
        z, r, n = (step @ kernel).chunk(3, dim=1)
        z, r = torch.sigmoid(z + h @ update), torch.sigmoid(r + h @ reset)
        h = z * h + (1.0 - z) * torch.tanh(n + (r * h) @ new)
    return h


@demonstration
def mask_zero(remedied: bool) -> dict[str, Any]:
    """A recurrent layer that stops at the end of each sequence, or sees zeros behind it."""
    rnn = recurrent(nn.RNN, normal(3, 4).T, normal(4, 4).T)
    steps: Any = embedding(padding_idx=0)(TOKENS) * (TOKENS != 0).unsqueeze(-1)
    if remedied:
        lengths = (TOKENS != 0).sum(dim=1)
        steps = pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
    return {"output": rnn(steps)[1][0]}


# Convolutions, pooling, normalization and activations.


@demonstration
def same_padding_stride(remedied: bool) -> dict[str, Any]:
    """A 3×3 convolution of stride 2 over 6×6 images, padded to half the size."""
    image, kernel = normal(2, 6, 6, 1).permute(0, 3, 1, 2), normal(3, 3, 1, 2).permute(3, 2, 0, 1)
    if remedied:
        output = F.conv2d(F.pad(image, (0, 1, 0, 1)), kernel, stride=2)
    else:
        output = F.conv2d(image, kernel, stride=2, padding=1)
    return {"output": output.permute(0, 2, 3, 1)}


@demonstration
def average_pool_same(remedied: bool) -> dict[str, Any]:
    """Averages over 3×3 windows, at the border over fewer pixels or over zeros too."""
    image = normal(2, 6, 6, 1).permute(0, 3, 1, 2)
    output = F.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=not remedied)
    return {"output": output.permute(0, 2, 3, 1)}


@demonstration
def transposed_padding(remedied: bool) -> dict[str, Any]:
    """A transposed 3×3 convolution of stride 2, cropped at the end or at the beginning."""
    image, kernel = normal(2, 4, 4, 1).permute(0, 3, 1, 2), normal(3, 3, 2, 1).permute(3, 2, 0, 1)
    if remedied:
        output = F.conv_transpose2d(image, kernel, stride=2)[..., :-1, :-1]
    else:
        output = F.conv_transpose2d(image, kernel, stride=2, padding=1, output_padding=1)
    return {"output": output.permute(0, 2, 3, 1)}


@demonstration
def norm_epsilon(remedied: bool) -> dict[str, Any]:
    """Layer and group normalization of four features with Keras' epsilon, or Torch's."""
    x, eps = normal(8, 4), 1e-3 if remedied else 1e-5
    norms = {"layer": nn.LayerNorm(4, eps), "group": nn.GroupNorm(2, 4, eps)}
    return {name: norm.double()(x) for name, norm in norms.items()}


@demonstration
def leaky_relu_slope(remedied: bool) -> dict[str, Any]:
    """A leaky ReLU with Keras' slope, or Torch's default."""
    relu = nn.LeakyReLU(float(np.float32(0.3))) if remedied else nn.LeakyReLU()
    return {"output": relu(normal(20, 3))}


@demonstration
def float32_constants(remedied: bool) -> dict[str, Any]:
    """A leaky ReLU of large values, its slope rounded to float32 or not."""
    slope = float(np.float32(0.3)) if remedied else 0.3
    return {"output": F.leaky_relu(100.0 * normal(20, 3), slope)}


@demonstration
def float64_plumbing(remedied: bool) -> dict[str, Any]:
    """A dense layer made double before its weights are loaded, or after."""
    layer = nn.Linear(3, 4, dtype=torch.float64 if remedied else torch.float32)
    return {"output": filled(dense=layer).double()(normal(20, 3))}


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


# Optimizers.


@demonstration
def adam_epsilon(remedied: bool) -> dict[str, Any]:
    """Adam's epsilon: on Torch's side the remedy is to set it before every step."""
    model = dense()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def set_epsilon(step: int) -> None:
        if remedied:
            optimizer.param_groups[0]["eps"] = 1e-7 / math.sqrt(1.0 - 0.999 ** (step + 1))

    return trained_dense(model, optimizer, set_epsilon)


@demonstration
def adam_beta_float32(remedied: bool) -> dict[str, Any]:
    """Adam's betas, with Keras' epsilon: the remedy is on Keras' side."""
    return adam_epsilon(True)


@demonstration
def rmsprop_epsilon(remedied: bool) -> dict[str, Any]:
    """RMSprop as Keras computes it, or Torch's."""
    model = dense()
    if not remedied:
        return trained_dense(model, torch.optim.RMSprop(model.parameters(), lr=RATE))
    return trained_dense(model, sgd(model, momentum=0.0), keras_rmsprop(model))


@demonstration
def optimizer_defaults(remedied: bool) -> dict[str, Any]:
    """RMSprop as Keras computes it, with its default learning rate or with Torch's."""
    model = dense()
    plain = sgd(model, lr=0.001 if remedied else 0.01, momentum=0.0)
    return trained_dense(model, plain, keras_rmsprop(model))


@demonstration
def weight_decay(remedied: bool) -> dict[str, Any]:
    """Weights that shrink beside the gradient step, or through the gradient and its momentum."""
    model = dense()
    if not remedied:
        return trained_dense(model, sgd(model, weight_decay=DECAY))

    @torch.no_grad()
    def shrink(step: int) -> None:
        for p in model.parameters():
            p.sub_(p * DECAY * RATE)

    return trained_dense(model, sgd(model), shrink)


@demonstration
def sgd_learning_rate_change(remedied: bool) -> dict[str, Any]:
    """A learning rate that drops half way, with momentum."""
    model = dense()
    optimizer = sgd(model)

    def lower(step: int) -> None:
        if step == STEPS // 2:
            optimizer.param_groups[0]["lr"] = LOWER_RATE
            for state in optimizer.state.values() if remedied else ():
                state["momentum_buffer"] *= RATE / LOWER_RATE

    return trained_dense(model, optimizer, lower)


@demonstration
def learning_rate_schedule(remedied: bool) -> dict[str, Any]:
    """An exponential schedule that advances with every step, or with every epoch of ten steps."""
    model = dense()
    optimizer = sgd(model, momentum=0.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    interval = 1 if remedied else 10

    def advance(step: int) -> None:
        if step and step % interval == 0:
            scheduler.step()

    return trained_dense(model, optimizer, advance)


@demonstration
def gradient_clipping(remedied: bool) -> dict[str, Any]:
    """The norm of each weight's gradient bounded, or the norm of them all."""
    model = dense()

    def clip(step: int) -> None:
        if not remedied:
            nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
            return
        for gradient in map(gradient_of, model.parameters()):
            gradient *= LARGEST_NORM / torch.clamp(gradient.norm(), min=LARGEST_NORM)

    return trained_dense(model, sgd(model), clip)


@demonstration
def padding_idx(remedied: bool) -> dict[str, Any]:
    """A table all of whose rows are trained, or all but that of padding."""
    return trained_tokens(embedding() if remedied else embedding(padding_idx=0), 0.5)


@demonstration
def sparse_gradients(remedied: bool) -> dict[str, Any]:
    """RMSprop as Keras computes it for dense gradients: the remedy is on Keras' side."""
    table = embedding()
    return trained_tokens(table, 0.01, keras_rmsprop(table))


# Losses and metrics.


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
    return {"loss": loss, "gradient": gradient_of(logits)}


@demonstration
def cross_entropy_logits(remedied: bool) -> dict[str, Any]:
    """The cross-entropy of logits, or of what is a softmax already."""
    logits = normal(20, 3)
    scores = logits if remedied else logits.softmax(dim=1)
    return {"loss": F.cross_entropy(scores, torch.arange(20) % 3)}


@demonstration
def accuracy_threshold(remedied: bool) -> dict[str, Any]:
    """Accuracy where probabilities are exactly 0.5, as those of a network that starts at zero."""
    probability = torch.tensor([0.0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 1.0], dtype=torch.float64)
    label = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    if remedied:
        return {"accuracy": np.float64(binary_accuracy(probability, label))}
    return {"accuracy": ((probability >= 0.5) == label).double().mean()}
