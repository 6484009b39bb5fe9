"""Small computations for the conventions that the tutorial's networks cannot show.

Each has a twin of the same name in `keras.demonstrations`, from the same numbers. With the
remedy in place both return the same float64 arrays, to rounding; without it they do not.
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
from compare.backends.torch.weights import named_tensors, read_weights

Arrays = dict[str, np.ndarray]


def normal(*shape: int) -> Tensor:
    """Normal numbers in float64: the same for a shape in every call, and in the Keras twin."""
    return torch.from_numpy(np.random.default_rng(shape).standard_normal(shape))


def filled(model: nn.Sequential) -> nn.Sequential:
    """The model with kernels set in Keras' layout, and biases zero."""
    for name, tensor in named_tensors(model).items():
        if name.endswith("kernel"):
            tensor.copy_(normal(*tensor.shape))
        elif name.endswith("/bias"):
            tensor.zero_()
    return model


def keras_norm(channels: int) -> BiasedBatchNorm:
    """Batch normalization with the defaults of Keras, in float64."""
    return BiasedBatchNorm(channels, eps=1e-3, momentum=1.0 - 0.99).double()


def trained(norm: nn.Module) -> Arrays:
    """All weights after 30 steps of a dense layer, `norm` and a dense layer."""
    model = nn.Sequential()
    model.add_module("hidden", nn.Linear(3, 4, dtype=torch.float64))
    model.add_module("batch_norm", norm)
    model.add_module("output", nn.Linear(4, 1, dtype=torch.float64))
    filled(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        F.mse_loss(model(normal(20, 3)), normal(20, 1)).backward()
        optimizer.step()
    return read_weights(model)


def statistics(norm: nn.Module, *batches: Tensor) -> Arrays:
    """The running statistics after some batches in training mode."""
    for batch in batches:
        norm(batch)
    return {"moving_mean": norm.running_mean.numpy(), "moving_variance": norm.running_var.numpy()}


def bn_frozen(remedied: bool) -> Arrays:
    """Batch normalization frozen: in evaluation mode too, or only left out of the training."""
    norm = keras_norm(4).requires_grad_(False)
    return trained(norm.eval() if remedied else norm)


def bn_center_only(remedied: bool) -> Arrays:
    """Batch normalization that learns a shift and no scale, or both."""
    norm = keras_norm(4)
    if remedied:
        norm.weight = None
    found = trained(norm)
    return {**found, "batch_norm/gamma": found.get("batch_norm/gamma", np.ones(4))}


def bn_batch_of_one(remedied: bool) -> Arrays:
    """A batch of four, then one of a single sample."""
    batches = [normal(4, 3), normal(1, 3)]
    # Torch's own layer raises on the second, and leaving it out is the usual way around.
    return statistics(keras_norm(3), *(batches if remedied else batches[:1]))


def bn_axis(remedied: bool) -> Arrays:
    """Sequences (8, 4, 4) of as many steps as features."""
    x = normal(8, 4, 4)
    if remedied:
        return {"output": keras_norm(4)(x.transpose(1, 2)).transpose(1, 2).detach().numpy()}
    return {"output": keras_norm(4)(x).detach().numpy()}


def bn_mask(remedied: bool) -> Arrays:
    """Padded sequences; Torch knows no mask, and the remedy is on Keras' side."""
    return statistics(keras_norm(3), normal(4, 5, 3).transpose(1, 2))


class _BiasedSubclass(nn.BatchNorm1d):
    """The same layer, as a subclass of Torch's."""

    forward = BiasedBatchNorm.forward
    _track = BiasedBatchNorm._track


def bn_sync(remedied: bool) -> Arrays:
    """What Lightning's `sync_batchnorm` leaves of a layer that tracks the biased variance."""
    subclass = _BiasedSubclass(3, eps=1e-3, momentum=1.0 - 0.99).double()
    plugin = TorchSyncBatchNorm()
    norm = plugin.revert(plugin.apply(keras_norm(3) if remedied else subclass))
    return statistics(norm, normal(4, 3), normal(5, 3))


def gru_gate_order(remedied: bool) -> Arrays:
    """A GRU of four units with Keras' weights, gates reordered or not."""
    gru = nn.GRU(3, 4, batch_first=True, dtype=torch.float64)
    named = {
        "weight_ih_l0": normal(3, 12).T,
        "weight_hh_l0": normal(4, 12).T,
        "bias_ih_l0": normal(2, 12)[0],
        "bias_hh_l0": normal(2, 12)[1],
    }
    for name, value in named.items():
        update, reset, new = value.chunk(3)
        gates = (reset, update, new) if remedied else (update, reset, new)
        getattr(gru, name).data.copy_(torch.cat(gates))
    return {"output": gru(normal(8, 5, 3))[0][:, -1].detach().numpy()}


def same_padding_stride(remedied: bool) -> Arrays:
    """A 3×3 convolution of stride 2 over 6×6 images, padded to half the size."""
    image, kernel = normal(2, 6, 6, 1).permute(0, 3, 1, 2), normal(3, 3, 1, 2).permute(3, 2, 0, 1)
    if remedied:
        output = F.conv2d(F.pad(image, (0, 1, 0, 1)), kernel, stride=2)
    else:
        output = F.conv2d(image, kernel, stride=2, padding=1)
    return {"output": output.permute(0, 2, 3, 1).numpy()}


def average_pool_same(remedied: bool) -> Arrays:
    """Averages over 3×3 windows, at the border over fewer pixels or over zeros too."""
    image = normal(2, 6, 6, 1).permute(0, 3, 1, 2)
    output = F.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=not remedied)
    return {"output": output.permute(0, 2, 3, 1).numpy()}


def transposed_padding(remedied: bool) -> Arrays:
    """A transposed 3×3 convolution of stride 2, cropped at the end or at the beginning."""
    image, kernel = normal(2, 4, 4, 1).permute(0, 3, 1, 2), normal(3, 3, 2, 1).permute(3, 2, 0, 1)
    if remedied:
        output = F.conv_transpose2d(image, kernel, stride=2)[..., :-1, :-1]
    else:
        output = F.conv_transpose2d(image, kernel, stride=2, padding=1, output_padding=1)
    return {"output": output.permute(0, 2, 3, 1).numpy()}


def norm_epsilon(remedied: bool) -> Arrays:
    """Layer and group normalization of four features with Keras' epsilon, or Torch's."""
    x, options = normal(8, 4), {"eps": 1e-3} if remedied else {}
    norms = {"layer": nn.LayerNorm(4, **options), "group": nn.GroupNorm(2, 4, **options)}
    return {name: norm.double()(x).detach().numpy() for name, norm in norms.items()}


def leaky_relu_slope(remedied: bool) -> Arrays:
    """A leaky ReLU with Keras' slope, or Torch's default."""
    relu = nn.LeakyReLU(float(np.float32(0.3))) if remedied else nn.LeakyReLU()
    return {"output": relu(normal(20, 3)).numpy()}


def float32_constants(remedied: bool) -> Arrays:
    """A leaky ReLU of large values, its slope rounded to float32 or not."""
    slope = float(np.float32(0.3)) if remedied else 0.3
    return {"output": F.leaky_relu(100.0 * normal(20, 3), slope).numpy()}


def float64_plumbing(remedied: bool) -> Arrays:
    """A dense layer made double before its weights are loaded, or after."""
    layer = nn.Linear(3, 4, dtype=torch.float64 if remedied else torch.float32)
    model = nn.Sequential()
    model.add_module("dense", layer)
    return {"output": filled(model).double()(normal(20, 3)).detach().numpy()}


def shuffle_seed(remedied: bool) -> Arrays:
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


STEPS = 30
RATE, LOWER_RATE, DECAY, LARGEST_NORM = 0.05, 0.005, 0.125, 0.5


def samples() -> tuple[Tensor, Tensor]:
    """Inputs (20, 3), the last of them tiny, as from a unit that hardly fires; targets (20, 1)."""
    return normal(20, 3) * torch.tensor([1.0, 1.0, 1e-6], dtype=torch.float64), normal(20, 1)


def dense() -> nn.Sequential:
    """Three inputs, one output."""
    model = nn.Sequential()
    model.add_module("output", nn.Linear(3, 1, dtype=torch.float64))
    return filled(model)


def trained_demonstrate_training(
    model: nn.Sequential,
    optimizer: torch.optim.Optimizer,
    before: Callable[[int], None] = lambda step: None,
) -> Arrays:
    """The weights after 30 steps on the mean squared error; `before` runs before each."""
    x, y = samples()
    for step in range(STEPS):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        before(step)
        optimizer.step()
    return read_weights(model)


def sgd(model: nn.Module, **options: Any) -> torch.optim.SGD:
    """SGD with momentum 0.9."""
    return torch.optim.SGD(model.parameters(), **{"lr": RATE, "momentum": 0.9, **options})


def adam(model: nn.Module) -> tuple[torch.optim.Adam, Callable[[int], None]]:
    """Adam, and what gives it Keras' epsilon before every step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def bridge(step: int) -> None:
        optimizer.param_groups[0]["eps"] = 1e-7 / math.sqrt(1.0 - 0.999 ** (step + 1))

    return optimizer, bridge


def adam_epsilon(remedied: bool) -> Arrays:
    """Adam's epsilon: on Torch's side the remedy is to set it before every step."""
    model = dense()
    optimizer, bridge = adam(model)
    return (
        trained_demonstrate_training(model, optimizer, bridge)
        if remedied
        else trained_demonstrate_training(model, optimizer)
    )


def adam_beta_float32(remedied: bool) -> Arrays:
    """Adam's betas: the remedy is on Keras' side."""
    model = dense()
    return trained_demonstrate_training(model, *adam(model))


def rmsprop_epsilon(remedied: bool) -> Arrays:
    """RMSprop as Keras computes it, or Torch's."""
    model = dense()
    if not remedied:
        return trained_demonstrate_training(model, torch.optim.RMSprop(model.parameters(), lr=RATE))
    return trained_demonstrate_training(
        model, sgd(model, lr=RATE, momentum=0.0), keras_rmsprop(model)
    )


def keras_rmsprop(model: nn.Module) -> Callable[[int], None]:
    """What makes each step of plain SGD one of Keras' RMSprop."""
    squares = {p: torch.zeros_like(p) for p in model.parameters()}

    def rescale(step: int) -> None:
        for p, square in squares.items():
            square.mul_(0.9).add_((1.0 - 0.9) * p.grad**2)
            p.grad /= torch.sqrt(square + 1e-7)

    return rescale


def optimizer_defaults(remedied: bool) -> Arrays:
    """RMSprop as Keras computes it, with its default learning rate or with Torch's."""
    model = dense()
    rate = 0.001 if remedied else 0.01
    return trained_demonstrate_training(
        model, sgd(model, lr=rate, momentum=0.0), keras_rmsprop(model)
    )


def weight_decay(remedied: bool) -> Arrays:
    """Weights that shrink beside the gradient step, or through the gradient and its momentum."""
    model = dense()
    if not remedied:
        return trained_demonstrate_training(model, sgd(model, weight_decay=DECAY))

    def shrink(step: int) -> None:
        with torch.no_grad():
            for p in model.parameters():
                p -= p * DECAY * RATE

    return trained_demonstrate_training(model, sgd(model), shrink)


def sgd_learning_rate_change(remedied: bool) -> Arrays:
    """A learning rate that drops half way, with momentum."""
    model = dense()
    optimizer = sgd(model)

    def lower(step: int) -> None:
        if step == STEPS // 2:
            optimizer.param_groups[0]["lr"] = LOWER_RATE
            for state in optimizer.state.values() if remedied else ():
                state["momentum_buffer"] *= RATE / LOWER_RATE

    return trained_demonstrate_training(model, optimizer, lower)


def learning_rate_schedule(remedied: bool) -> Arrays:
    """An exponential schedule that advances with every step, or with every epoch of ten steps."""
    model = dense()
    optimizer = sgd(model, momentum=0.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    interval = 1 if remedied else 10

    def advance(step: int) -> None:
        if step and step % interval == 0:
            scheduler.step()

    return trained_demonstrate_training(model, optimizer, advance)


def gradient_clipping(remedied: bool) -> Arrays:
    """The norm of each weight's gradient bounded, or the norm of them all."""
    model = dense()

    def clip(step: int) -> None:
        if not remedied:
            nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
            return
        for p in model.parameters():
            p.grad *= LARGEST_NORM / torch.clamp(p.grad.norm(), min=LARGEST_NORM)

    return trained_demonstrate_training(model, sgd(model), clip)


def regularizers_in_loss(remedied: bool) -> Arrays:
    """The reported loss, with or without the penalty on the kernel."""
    model = dense()
    x, y = samples()
    loss = F.mse_loss(model(x), y)
    if remedied:
        loss = loss + DECAY * model.output.weight.square().sum()
    return {"loss": loss.detach().numpy()}


def broadcast_loss(remedied: bool) -> Arrays:
    """Predictions (20, 1) against targets (20,)."""
    prediction, target = normal(20, 1), normal(20, 3)[:, 0]
    with warnings.catch_warnings():
        # The warning is all that tells a porter, and here it is meant.
        warnings.filterwarnings("ignore", message="Using a target size")
        loss = F.mse_loss(prediction, target.unsqueeze(1) if remedied else target)
    return {"loss": loss.numpy()}


def loss_from_logits(remedied: bool) -> Arrays:
    """Loss and gradient where the sigmoid has saturated."""
    logits = torch.tensor([-50.0, -2.0, 2.0, 50.0], dtype=torch.float64, requires_grad=True)
    labels = torch.zeros_like(logits)
    if remedied:
        loss = F.binary_cross_entropy_with_logits(logits, labels)
    else:
        loss = F.binary_cross_entropy(logits.sigmoid(), labels)
    loss.backward()
    return {"loss": loss.detach().numpy(), "gradient": logits.grad.numpy()}


def cross_entropy_logits(remedied: bool) -> Arrays:
    """The cross-entropy of logits, or of what is a softmax already."""
    logits = normal(20, 3)
    given = logits if remedied else logits.softmax(dim=1)
    return {"loss": F.cross_entropy(given, torch.arange(20) % 3).numpy()}


def accuracy_threshold(remedied: bool) -> Arrays:
    """Accuracy where probabilities are exactly 0.5, as those of a network that starts at zero."""
    probability = torch.tensor([0.0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 1.0], dtype=torch.float64)
    label = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    if remedied:
        return {"accuracy": np.float64(binary_accuracy(probability, label))}
    return {"accuracy": np.float64(((probability >= 0.5) == label).double().mean())}


TOKENS = torch.tensor([[1, 2, 3, 1], [2, 1, 1, 0], [3, 4, 0, 0], [4, 0, 0, 0]])
"""Four sequences; token 0 pads them at the end."""


def embedding(**options: Any) -> nn.Embedding:
    """Five tokens of three features."""
    table = nn.Embedding(5, 3, dtype=torch.float64, **options)
    table.weight.data.copy_(normal(5, 3))
    return table


def trained_demonstrate_sequences(
    table: nn.Embedding, rate: float, before: Callable[[int], None] = lambda step: None
) -> Arrays:
    """The table of tokens after 30 steps towards random targets; `before` runs before each."""
    optimizer = torch.optim.SGD(table.parameters(), lr=rate)
    for step in range(30):
        optimizer.zero_grad()
        F.mse_loss(table(TOKENS), normal(4, 4, 3)).backward()
        before(step)
        optimizer.step()
    return {"tokens": table.weight.detach().numpy()}


def padding_idx(remedied: bool) -> Arrays:
    """A table all of whose rows are trained, or all but that of padding."""
    return trained_demonstrate_sequences(embedding() if remedied else embedding(padding_idx=0), 0.5)


def sparse_gradients(remedied: bool) -> Arrays:
    """RMSprop as Keras computes it for dense gradients: the remedy is on Keras' side."""
    table = embedding()
    return trained_demonstrate_sequences(table, 0.01, keras_rmsprop(table))


def mask_zero(remedied: bool) -> Arrays:
    """A recurrent layer that stops at the end of each sequence, or sees zeros behind it."""
    rnn = nn.RNN(3, 4, batch_first=True, dtype=torch.float64)
    for p, value in zip(rnn.parameters(), (normal(3, 4).T, normal(4, 4).T), strict=False):
        p.data.copy_(value)
    nn.init.zeros_(rnn.bias_ih_l0)
    nn.init.zeros_(rnn.bias_hh_l0)
    steps: Any = embedding(padding_idx=0)(TOKENS) * (TOKENS != 0).unsqueeze(-1)
    if remedied:
        lengths = (TOKENS != 0).sum(dim=1)
        steps = pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
    return {"output": rnn(steps)[1][0].detach().numpy()}


def _reset_before(x: Tensor, kernel: Tensor, recurrent: Tensor) -> Tensor:
    """The last state of a GRU that resets its state before the recurrent kernel."""
    h = x.new_zeros(len(x), recurrent.shape[0])
    update, reset, new = recurrent.chunk(3, dim=1)
    for step in x.unbind(dim=1):
        z, r, n = (step @ kernel).chunk(3, dim=1)
        z, r = torch.sigmoid(z + h @ update), torch.sigmoid(r + h @ reset)
        h = z * h + (1.0 - z) * torch.tanh(n + (r * h) @ new)
    return h


def gru_reset_after(remedied: bool) -> Arrays:
    """A GRU of four units with Keras' weights, in a cell by hand or in Torch's."""
    x, weights = normal(8, 5, 3), (normal(3, 12), normal(4, 12))
    if remedied:
        return {"output": _reset_before(x, *weights).numpy()}
    gru = nn.GRU(3, 4, batch_first=True, bias=False, dtype=torch.float64)
    for p, value in zip(gru.parameters(), weights, strict=True):
        update, reset, new = value.T.chunk(3)
        p.data.copy_(torch.cat((reset, update, new)))
    return {"output": gru(x)[0][:, -1].detach().numpy()}


DEMONSTRATIONS: dict[str, Callable[[bool], dict[str, np.ndarray]]] = {
    "accuracy-threshold": accuracy_threshold,
    "adam-beta-float32": adam_beta_float32,
    "adam-epsilon": adam_epsilon,
    "average-pool-same": average_pool_same,
    "bn-axis": bn_axis,
    "bn-batch-of-one": bn_batch_of_one,
    "bn-center-only": bn_center_only,
    "bn-frozen": bn_frozen,
    "bn-mask": bn_mask,
    "bn-sync": bn_sync,
    "broadcast-loss": broadcast_loss,
    "cross-entropy-logits": cross_entropy_logits,
    "float32-constants": float32_constants,
    "float64-plumbing": float64_plumbing,
    "gradient-clipping": gradient_clipping,
    "gru-gate-order": gru_gate_order,
    "gru-reset-after": gru_reset_after,
    "leaky-relu-slope": leaky_relu_slope,
    "learning-rate-schedule": learning_rate_schedule,
    "loss-from-logits": loss_from_logits,
    "mask-zero": mask_zero,
    "norm-epsilon": norm_epsilon,
    "optimizer-defaults": optimizer_defaults,
    "padding-idx": padding_idx,
    "regularizers-in-loss": regularizers_in_loss,
    "rmsprop-epsilon": rmsprop_epsilon,
    "same-padding-stride": same_padding_stride,
    "sgd-learning-rate-change": sgd_learning_rate_change,
    "shuffle-seed": shuffle_seed,
    "sparse-gradients": sparse_gradients,
    "transposed-padding": transposed_padding,
    "weight-decay": weight_decay,
}
"""Name of the convention → function of whether its remedy is in place."""
