"""Conventions of layers, dtypes and data order, each on a computation of a few lines.

Each function has a twin of the same name in `keras.demonstrate_layers`, from the same numbers,
and takes `remedied`: whether the remedy is in place.
"""

from __future__ import annotations

import numpy as np
import torch
from lightning.pytorch.plugins import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

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
