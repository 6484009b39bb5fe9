"""Many seeds of one module at once: the numbers of `Trainer.fit`, sooner.

`Trainer.fit` spends most of its time around steps as small as these. Here a step of all seeds is
one `vmap`, traced once into plain tensor operations. Evaluation runs the module itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from bn_torch.module import BinaryClassifier
from bn_torch.norm import BiasedBatchNorm
from compare.backends.protocol import OnEpoch, Views
from compare.backends.torch import build
from compare.data import Array


def unrolled(module: nn.Module) -> nn.Module:
    """A copy of a module in which every LSTM and batch norm is written out, and relu is in place.

    Its parameters and buffers have the same names, but for `num_batches_tracked`, which is gone.
    Since an `nn.ReLU` writes over what it is given, the module must not begin with one.
    """
    module = copy.deepcopy(module)
    for name, child in list(module.named_modules()):
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d, BiasedBatchNorm)):
            module.set_submodule(name, UnrolledBatchNorm(child))
        elif isinstance(child, nn.LSTM):
            module.set_submodule(name, UnrolledLSTM(child))
        elif isinstance(child, nn.ReLU):
            # The next layer finds it in the cache: a tenth of an evaluation with convolutions.
            module.set_submodule(name, nn.ReLU(inplace=True))
    return module


class UnrolledBatchNorm(nn.Module):
    """Torch's batch norm, or `BiasedBatchNorm`, in single operations.

    Args:
        norm: The layer to write out; parameters and buffers become this one's.

    Shape:
        - Input: (N, C) or (N, C, H, W)
        - Output: the same.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.eps, self.momentum = norm.eps, norm.momentum
        self.unbiased = not isinstance(norm, BiasedBatchNorm)
        self.weight, self.bias = norm.weight, norm.bias
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)

    def forward(self, x: Tensor) -> Tensor:
        channels, others = [1, -1] + [1] * (x.ndim - 2), [0, *range(2, x.ndim)]
        if self.training:
            mean = x.mean(others, keepdim=True)
            centered = x - mean
            variance = centered.square().mean(others, keepdim=True)
            self._track(mean.detach().flatten(), variance.detach().flatten(), x[:, 0].numel())
        else:
            centered = x - self.running_mean.view(channels)
            variance = self.running_var.view(channels)
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is None:
            return centered * scale
        return torch.addcmul(self.bias.view(channels), centered, scale * self.weight.view(channels))

    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.unbiased:
            variance = variance * (count / (count - 1))
        kept = 1.0 - self.momentum
        self.running_mean.mul_(kept).add_(mean * (1.0 - kept))
        self.running_var.mul_(kept).add_(variance * (1.0 - kept))


class UnrolledLSTM(nn.Module):
    """An LSTM of one layer and one direction, step by step; gates i, f, g, o as in `nn.LSTM`.

    Args:
        lstm: The layer to write out; its parameters become this one's.

    Shape:
        - Input: (N, L, H_in), or (L, N, H_in) where `batch_first` is false.
        - Output: the outputs of all steps, (N, L, H) or (L, N, H), and None.

    Reference:
        Hochreiter & Schmidhuber, 1997, https://doi.org/10.1162/neco.1997.9.8.1735
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.time = 1 if lstm.batch_first else 0
        for name, parameter in lstm.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        bias = self.bias_ih_l0 + self.bias_hh_l0
        h = c = None
        outputs = []
        for step in x.unbind(self.time):
            gates = F.linear(step, self.weight_ih_l0, bias)
            # Output and cell are zero before the first step.
            if h is not None:
                gates = gates + F.linear(h, self.weight_hh_l0)
            i, f, g, o = gates.chunk(4, dim=-1)
            new = torch.sigmoid(i) * torch.tanh(g)
            c = new if c is None else torch.sigmoid(f) * c + new
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, self.time), None


State = dict[str, Tensor]
"""Name in the module → tensor, (seeds, …)."""

_ROWS = 250
"""Images evaluated at once: what a convolution returns for them stays in a core's cache."""


class ManySeeds:
    """Trains a module from many starting points.

    Args:
        module: A module that returns logits, with its learning rate and momentum; conventions left
            unremedied in it are so here.
        data: Samples as the network takes them, and labels: (n, …) and (n,).
        batch_size: Samples per step; a short last batch is kept, unless the module says otherwise.
        views: What is evaluated after every epoch.
    """

    def __init__(
        self,
        module: BinaryClassifier,
        data: tuple[Array, Array],
        *,
        batch_size: int,
        views: Views,
    ) -> None:
        self._module, self._undone = module, build.undone_in(module)
        x, y = (torch.from_numpy(array) for array in data)
        self._x, self._y = x, y.unsqueeze(1)
        self._views = {name: (_cached(x), mode) for name, (x, mode) in views.items()}
        short = "last-batch" not in self._undone or len(x) < batch_size
        cut = [*range(0, len(x), batch_size), len(x)]
        self._batches = [slice(a, b) for a, b in pairwise(cut) if short or b - a == batch_size]
        self._network = unrolled(module.model)
        self._network.train("train-mode" not in self._undone)
        self._trained = [n for n, p in self._network.named_parameters() if p.requires_grad]
        self._in_training_mode: Callable[..., Tensor] | None = None
        self._steps: dict[tuple[int, int], Callable[..., Any]] = {}

    @torch.no_grad()
    def fit(
        self, starts: Iterable[tuple[BinaryClassifier, Array]], *, on_epoch: OnEpoch
    ) -> Iterator[BinaryClassifier]:
        """See `Framework.fit_many`."""
        copies, orders = zip(*((_copies(m.model.state_dict()), o) for m, o in starts), strict=True)
        state = {name: torch.stack([seed[name] for seed in copies]) for name in copies[0]}
        velocities = [torch.zeros_like(state[name]) for name in self._trained]
        for order in torch.from_numpy(np.stack(orders, axis=1)):
            loss, accuracy = self._train(state, velocities, order)
            on_epoch(loss, accuracy, self._evaluate(state))
        for seed in range(len(copies)):
            self._module.model.load_state_dict(_of_seed(state, seed))
            yield self._module

    def _train(self, state: State, velocities: list[Tensor], order: Tensor) -> tuple[Array, Array]:
        """One epoch in place; running losses and accuracies, (seeds,)."""
        x, y = self._x[order], self._y[order]
        trained = {name: state[name] for name in self._trained}
        others = {name: t for name, t in state.items() if name not in trained}
        rate, momentum = (self._module.hparams[name] for name in ("learning_rate", "momentum"))
        losses, right = [], []
        for batch in self._batches:
            step = self._step(trained, others, x[:, batch], y[:, batch])
            gradients, (loss, count) = step(trained, others, x[:, batch], y[:, batch])
            torch._foreach_mul_(velocities, momentum)
            torch._foreach_add_(velocities, [gradients[name] for name in self._trained])
            torch._foreach_add_(list(trained.values()), velocities, alpha=-rate)
            losses.append(loss)
            right.append(count)
        sizes = torch.tensor([batch.stop - batch.start for batch in self._batches])
        weights = torch.ones_like(sizes) if "epoch-metrics" in self._undone else sizes
        loss = torch.stack(losses, 1) @ (weights / weights.sum())
        return loss.numpy(), (torch.stack(right, 1).sum(1) / sizes.sum()).numpy()

    def _step(self, *arguments: Any) -> Callable[..., Any]:
        """The step for batches of this shape, traced when it is first wanted."""
        trained, others, x, y = arguments
        shape = tuple(x.shape[:2])
        if shape not in self._steps:
            # Tracing runs the step, which moves the statistics: copies take that.
            copies = _copies(others)
            step = vmap(grad(lambda *seed: self._objective(*seed), has_aux=True))
            self._steps[shape] = make_fx(step)(trained, copies, x, y)
        return self._steps[shape]

    def _objective(
        self, trained: State, others: State, x: Tensor, y: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        logits = functional_call(self._network, {**trained, **others}, (x,))
        loss = F.binary_cross_entropy_with_logits(logits, y)
        right = ((logits.sigmoid() > 0.5) == (y > 0.5)).sum()
        return (loss * len(x) if "loss-reduction" in self._undone else loss), (loss, right)

    def _evaluate(self, state: State) -> dict[str, Array]:
        """Probabilities of every view, (seeds, n)."""
        seeds = range(len(next(iter(state.values()))))
        states = [_of_seed(state, seed) for seed in seeds]
        return {
            name: torch.stack([self._probability(s, x, mode) for s in states]).numpy()
            for name, (x, mode) in self._views.items()
        }

    def _probability(self, state: State, x: Tensor, batch_statistics: bool) -> Tensor:
        model = self._module.model
        if batch_statistics:
            # A forward in training mode moves the statistics: copies take that.
            copies = {name: state[name].clone() for name, _ in model.named_buffers()}
            return self._lagless(state | copies, x)
        # As a module that was never switched to evaluation, where that is asked for.
        model.train("eval-mode" in self._undone)
        # A convolution's outputs for all samples would not fit a core's cache.
        parts = x.split(_ROWS) if x.ndim == 4 and not model.training else [x]
        return torch.cat([functional_call(model, state, (p,)) for p in parts]).sigmoid()[:, 0]

    def _lagless(self, state: State, x: Tensor) -> Tensor:
        """Probabilities with the statistics of `x`; moves those of the state."""
        if self._in_training_mode is None:
            network = copy.deepcopy(self._network).train()
            copies = _copies(state)
            forward = make_fx(lambda state, x: functional_call(network, state, (x,)))
            self._in_training_mode = forward(copies, x)
        return self._in_training_mode(state, x).sigmoid()[:, 0]


def _copies(state: State) -> State:
    return {name: tensor.clone() for name, tensor in state.items()}


def _of_seed(state: State, seed: int) -> State:
    return {name: tensor[seed] for name, tensor in state.items()}


def _cached(x: Array) -> Tensor:
    """Images with their channels last in memory: max pooling reads them faster."""
    tensor = torch.from_numpy(x)
    return tensor.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else tensor
