"""Many seeds in a loop written by hand for three networks: what the fast pace is measured against.

Plain Torch, no module but to begin and to end: weights in a dictionary with the seeds as a leading
axis, and a `vmap` of a `grad`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from bn_torch.module import BinaryClassifier

Views = Mapping[str, tuple[np.ndarray, bool]]
"""What is evaluated after every epoch: name → samples as the network takes them, and whether batch
normalization uses their own statistics."""

OnEpoch = Callable[[np.ndarray, np.ndarray, dict[str, np.ndarray]], None]
Tensors = dict[str, Tensor]
_MEAN, _VARIANCE = "batch_norm.running_mean", "batch_norm.running_var"


class LoopByHand:
    """Trains `mlp-bn-after`, `cnn-bn` or `lstm-bn` from many starting points.

    Args:
        module: The network, with its learning rate and momentum.
        data: Samples as the network takes them, and labels: (n, …) and (n,).
        batch_size: Samples per step; a short last batch is kept.
        views: What is evaluated after every epoch.

    Raises:
        TypeError: It is none of the three networks.
    """

    def __init__(
        self,
        module: BinaryClassifier,
        data: tuple[np.ndarray, np.ndarray],
        *,
        batch_size: int,
        views: Views,
    ) -> None:
        self._module, self._model = module, module.model
        kinds = tuple(type(layer).__name__ for layer in self._model.children())
        if kinds not in _NETWORKS or self._model.batch_norm.weight is None:
            raise TypeError(f"no loop by hand is written for {', '.join(kinds)}")
        self._network, norm = _NETWORKS[kinds], self._model.batch_norm
        self._eps, self._momentum = norm.eps, norm.momentum
        self._trained = [n for n, p in self._model.named_parameters() if p.requires_grad]
        self._x, self._y = (torch.from_numpy(array) for array in data)
        self._views = {name: (torch.from_numpy(x), mode) for name, (x, mode) in views.items()}
        self._batch_size = batch_size
        # A convolution of many seeds at once is a grouped one, which is slow for large batches.
        self._stacked = self._network is not _cnn
        # A lambda, because tracing miscounts the arguments of a method.
        self._step = vmap(grad(lambda *seed: self._loss(*seed), has_aux=True))
        self._traced: dict[tuple[Any, ...], Callable[..., Any]] = {}

    @torch.no_grad()
    def fit(
        self, starts: Iterable[tuple[BinaryClassifier, np.ndarray]], *, on_epoch: OnEpoch
    ) -> Iterator[BinaryClassifier]:
        """Train from every start; arguments and results as `ManySeeds.fit`'s."""
        copies, orders = zip(*((_copied(m.model), order) for m, order in starts), strict=True)
        state = {name: torch.stack([seed[name] for seed in copies]) for name in copies[0]}
        velocities = [torch.zeros_like(state[name]) for name in self._trained]
        for order in torch.from_numpy(np.stack(orders, axis=1)):
            loss, share = self._epoch(state, velocities, order)
            seen = {n: self._probabilities(state, *v).numpy() for n, v in self._views.items()}
            on_epoch(loss.numpy(), share.numpy(), seen)
        for seed in range(len(copies)):
            self._model.load_state_dict({name: t[seed] for name, t in state.items()})
            yield self._module

    def _epoch(
        self, state: Tensors, velocities: list[Tensor], order: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One epoch in place; running loss and accuracy, (seeds,)."""
        trained = {name: state[name] for name in self._trained}
        others = {name: t for name, t in state.items() if name not in trained}
        rates = self._module.hparams
        sums = torch.zeros(2, len(order), dtype=self._x.dtype)
        for chosen in order.split(self._batch_size, dim=1):
            batch = self._x[chosen], self._y[chosen]
            step = self._once(("step", chosen.shape), self._step)
            slopes, (measured, moved) = step(trained, others, *batch)
            torch._foreach_mul_(velocities, rates["momentum"])
            torch._foreach_add_(velocities, [slopes[name] for name in self._trained])
            torch._foreach_add_(list(trained.values()), velocities, alpha=-rates["learning_rate"])
            state.update(moved)
            others.update(moved)
            sums += measured.T
        return sums[0] / order.shape[1], sums[1] / order.shape[1]

    def _once(self, key: tuple[Any, ...], function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as plain tensor operations, traced when it is first called."""

        def traced(*arguments: Any) -> Any:
            if key not in self._traced:
                self._traced[key] = make_fx(function)(*arguments)
            return self._traced[key](*arguments)

        return traced

    def _loss(
        self, trained: Tensors, others: Tensors, x: Tensor, y: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensors]]:
        logits, moved = self._network({**trained, **others}, x, self._normalize_batch)
        loss = F.binary_cross_entropy_with_logits(logits, y)
        hits = ((logits > 0) == (y > 0.5)).sum()
        return loss, (torch.stack([loss * len(y), hits.to(loss.dtype)]), moved)

    def _probabilities(self, state: Tensors, x: Tensor, batch_statistics: bool) -> Tensor:
        normalize = self._normalize_batch if batch_statistics else self._normalize_tracked

        def one(weights: Tensors, x: Tensor) -> Tensor:
            return self._network(weights, x, normalize)[0].sigmoid()

        if self._stacked:
            seeds = len(next(iter(state.values())))
            every = vmap(one, in_dims=(0, None))
            return self._once((batch_statistics, seeds, len(x)), every)(state, x)
        seeds = zip(*state.values(), strict=True)
        return torch.stack([one(dict(zip(state, seed, strict=True)), x) for seed in seeds])

    def _normalize_batch(self, weights: Tensors, x: Tensor) -> tuple[Tensor, Tensors]:
        axes = [0, *range(2, x.ndim)]
        mean = x.mean(axes, keepdim=True)
        centered = x - mean
        variance = centered.square().mean(axes, keepdim=True)
        kept = 1.0 - self._momentum
        moved = {
            name: weights[name] * kept + value.detach().flatten() * (1.0 - kept)
            for name, value in ((_MEAN, mean), (_VARIANCE, variance))
        }
        return self._scaled(weights, centered, variance), moved

    def _normalize_tracked(self, weights: Tensors, x: Tensor) -> tuple[Tensor, Tensors]:
        shape = _channels(x)
        centered = x - weights[_MEAN].view(shape)
        return self._scaled(weights, centered, weights[_VARIANCE].view(shape)), {}

    def _scaled(self, weights: Tensors, centered: Tensor, variance: Tensor) -> Tensor:
        shape = _channels(centered)
        scale = torch.rsqrt(variance + self._eps) * weights["batch_norm.weight"].view(shape)
        return torch.addcmul(weights["batch_norm.bias"].view(shape), centered, scale)


def _channels(x: Tensor) -> list[int]:
    return [1, -1] + [1] * (x.ndim - 2)


def _copied(model: nn.Module) -> Tensors:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _linear(weights: Tensors, name: str, x: Tensor) -> Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _mlp(weights: Tensors, x: Tensor, normalize: Callable[..., Any]) -> Any:
    hidden, moved = normalize(weights, _linear(weights, "hidden", x).relu())
    return _linear(weights, "output", hidden)[:, 0], moved


def _cnn(weights: Tensors, x: Tensor, normalize: Callable[..., Any]) -> Any:
    for name in ("conv1", "conv2"):
        x = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"]).relu()
    x, moved = normalize(weights, x)
    flat = F.max_pool2d(x, 2).permute(0, 2, 3, 1).flatten(1)
    return _linear(weights, "output", flat)[:, 0], moved


def _lstm(weights: Tensors, x: Tensor, normalize: Callable[..., Any]) -> Any:
    kernel, recurrent, *biases = (
        weights[f"lstm.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    hidden = cell = None
    for step in x.unbind(1):
        gates = F.linear(step, kernel, biases[0] + biases[1])
        if hidden is not None:
            gates = gates + F.linear(hidden, recurrent)
        i, f, g, o = gates.chunk(4, dim=-1)
        new = torch.sigmoid(i) * torch.tanh(g)
        cell = new if cell is None else torch.sigmoid(f) * cell + new
        hidden = torch.sigmoid(o) * torch.tanh(cell)
    last, moved = normalize(weights, hidden)
    return _linear(weights, "output", last)[:, 0], moved


_NETWORKS: Mapping[tuple[str, ...], Callable[..., Any]] = {
    ("Linear", "ReLU", "BiasedBatchNorm", "Linear"): _mlp,
    (
        *("Conv2d", "ReLU", "Conv2d", "ReLU", "BiasedBatchNorm"),
        *("MaxPool2d", "FlattenChannelsLast", "Linear"),
    ): _cnn,
    ("LSTM", "BiasedBatchNorm", "Linear"): _lstm,
}
"""Kinds of the layers → the network."""
