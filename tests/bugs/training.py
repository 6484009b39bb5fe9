"""Rungs 5 to 9: the loss, gradients, the optimizer, moving statistics, evaluation."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from bn_torch.norm import BiasedBatchNorm
from bugs.register import bug
from compare.backends.bugs import AFTER, RELATIVE
from compare.backends.torch.bugs import override

# Rung 5: the loss.


def train_on(handle, loss):
    """Train on another loss, made of logits and labels."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        value = loss(logits, y)
        self.train_accuracy(logits.sigmoid(), y)
        self.log("train_loss", value, on_step=False, on_epoch=True)
        self.log("train_accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        return value

    override(handle, training_step=training_step)


entropy = F.binary_cross_entropy_with_logits


@bug(
    "probabilities taken for logits",
    variant=AFTER,
    rung=5,
    blame="loss",
    explained_by=("cross-entropy-logits",),
)
def loss_on_probabilities(handle, size):
    train_on(handle, lambda logits, y: entropy(logits.sigmoid(), y))


@bug("labels are smoothed", variant=AFTER, rung=5, blame="loss", size=0.01, unit="smoothing")
def loss_smoothed(handle, size):
    train_on(handle, lambda logits, y: entropy(logits, y + size * (0.5 - y)))


@bug("squared weights are added", variant=AFTER, rung=5, blame="loss", size=0.0001, unit="factor")
def loss_penalized(handle, size):
    def penalized(logits, y):
        return entropy(logits, y) + size * sum((p**2).sum() for p in handle.parameters())

    train_on(handle, penalized)


@bug("class 1 weighs more", variant=AFTER, rung=5, blame="loss", size=0.01, unit=RELATIVE)
def loss_weighted(handle, size):
    def weighted(logits, y):
        return entropy(logits, y, pos_weight=logits.new_tensor(1.0 + size))

    train_on(handle, weighted)


@bug("hinge for cross-entropy", variant=AFTER, rung=5, blame="loss")
def loss_hinge(handle, size):
    train_on(handle, lambda logits, y: F.relu(1 - (2 * y - 1) * logits).mean())


# Rung 6: gradients.


@bug(
    "a kernel's gradient is scaled",
    variant=AFTER,
    rung=6,
    blame="hidden",
    size=0.001,
    unit=RELATIVE,
)
def gradient_scaled(handle, size):
    handle.model.hidden.weight.register_hook(lambda gradient: gradient * (1.0 + size))


@bug(
    "relu with a leaky gradient",
    variant="mlp",
    rung=6,
    blame="between hidden and output",
    size=0.01,
    unit="slope",
)
def relu_gradient_leaky(handle, size):
    def forward(self, x):
        leaky = F.leaky_relu(x, size)
        return leaky + (F.relu(x) - leaky).detach()

    override(handle.model.relu, forward=forward)


@bug("no gradient from one step to the one before", variant="lstm", rung=6, blame="lstm")
def lstm_state_detached(handle, size):
    def forward(self, x, hx=None):
        outputs, state = [], None
        for step in x.split(1, dim=1):
            state = None if state is None else tuple(s.detach() for s in state)
            output, state = nn.LSTM.forward(self, step, state)
            outputs.append(output)
        return torch.cat(outputs, dim=1), state

    override(handle.model.lstm, forward=forward)


# Rung 7: the optimizer.


def use_sgd(handle, **options):
    """Train with SGD of other options than Keras has."""

    def configure_optimizers(self):
        own = {"lr": self.hparams["learning_rate"], "momentum": self.hparams["momentum"]}
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.SGD(trained, **{**own, **options})

    override(handle, configure_optimizers=configure_optimizers)


def clip(handle, norm):
    """Clip all gradients together to a norm."""

    def on_before_optimizer_step(self, optimizer):
        torch.nn.utils.clip_grad_norm_(self.parameters(), norm)

    override(handle, on_before_optimizer_step=on_before_optimizer_step)


@bug("learning rate rounded to float32", variant=AFTER, rung=7, blame="optimizer")
def learning_rate_float32(handle, size):
    use_sgd(handle, lr=float(np.float32(0.01)))


@bug("momentum × 1.0001", variant=AFTER, rung=7, blame="optimizer", size=0.0001, unit=RELATIVE)
def sgd_momentum_off(handle, size):
    use_sgd(handle, momentum=0.9 * (1.0 + size))


@bug(
    "momentum rounded to float32",
    variant=AFTER,
    rung=7,
    blame="optimizer",
    explained_by=("sgd-momentum-float32",),
)
def sgd_momentum_float32(handle, size):
    use_sgd(handle, momentum=float(np.float32(0.9)))


@bug("no momentum", variant=AFTER, rung=7, blame="optimizer")
def sgd_momentum_forgotten(handle, size):
    use_sgd(handle, momentum=0.0)


@bug("Nesterov's momentum", variant=AFTER, rung=7, blame="optimizer")
def sgd_nesterov(handle, size):
    use_sgd(handle, nesterov=True)


@bug(
    "momentum is dampened",
    variant=AFTER,
    rung=7,
    blame="optimizer",
    size=0.0001,
    unit="dampening",
    explained_by=("sgd-dampening",),
)
def sgd_dampened(handle, size):
    use_sgd(handle, dampening=size)


@bug(
    "weights decay",
    variant=AFTER,
    rung=7,
    blame="optimizer",
    size=1e-08,
    unit="weight decay",
    explained_by=("weight-decay",),
)
def weight_decay(handle, size):
    use_sgd(handle, weight_decay=size)


@bug(
    "Adam for SGD",
    variant=AFTER,
    rung=7,
    blame="optimizer",
    explained_by=("optimizer-kind",),
)
def adam(handle, size):
    def configure_optimizers(self):
        return torch.optim.Adam(self.model.parameters(), lr=0.01)

    override(handle, configure_optimizers=configure_optimizers)


@bug("the optimizer steps twice", variant=AFTER, rung=7, blame="optimizer")
def two_steps_per_batch(handle, size):
    def optimizer_step(self, epoch, batch_idx, optimizer, closure):
        optimizer.step(closure=closure)
        optimizer.step()

    override(handle, optimizer_step=optimizer_step)


@bug("gradients add up over steps", variant=AFTER, rung=7, blame="optimizer")
def gradients_not_zeroed(handle, size):
    override(handle, optimizer_zero_grad=lambda self, epoch, batch_idx, optimizer: None)


@bug(
    "gradients clipped to a norm of 0.1",
    variant=AFTER,
    rung=7,
    blame="optimizer",
    size=0.1,
    explained_by=("gradient-clipping",),
)
def gradients_clipped(handle, size):
    clip(handle, size)


@bug("the optimizer does not know the output layer", variant=AFTER, rung=7, blame="output")
def output_not_optimized(handle, size):
    def configure_optimizers(self):
        trained = [p for name, p in self.named_parameters() if "output" not in name]
        return torch.optim.SGD(trained, lr=0.01, momentum=0.9)

    override(handle, configure_optimizers=configure_optimizers)


@bug("a bias's own learning rate", variant=AFTER, rung=7, blame="hidden", size=0.001, unit=RELATIVE)
def bias_learns_faster(handle, size):
    def configure_optimizers(self):
        faster = self.model.hidden.bias
        others = [p for p in self.parameters() if p is not faster]
        groups = [{"params": others}, {"params": [faster], "lr": 0.01 * (1.0 + size)}]
        return torch.optim.SGD(groups, lr=0.01, momentum=0.9)

    override(handle, configure_optimizers=configure_optimizers)


@bug(
    "both biases are trained",
    variant="lstm",
    rung=7,
    blame="lstm",
    explained_by=("lstm-single-bias",),
)
def lstm_two_biases(handle, size):
    handle.model.lstm.bias_hh_l0.requires_grad_(True)


# Rung 8: moving statistics.


def track(handle, tracked):
    """Make a step update the moving statistics otherwise."""
    override(handle.model.batch_norm, _track=tracked)


@bug(
    "Torch's default momentum",
    variant=AFTER,
    rung=8,
    blame="batch_norm",
    explained_by=("bn-momentum",),
)
def bn_momentum_default(handle, size):
    handle.model.batch_norm.momentum = 0.1


@bug(
    "momentum × 1.0001",
    variant=AFTER,
    rung=8,
    blame="batch_norm",
    explained_by=("bn-momentum",),
    size=0.0001,
    unit=RELATIVE,
)
def bn_momentum_off(handle, size):
    handle.model.batch_norm.momentum *= 1.0 + size


@bug(
    "tracks the variance ÷ (n − 1)",
    variant=AFTER,
    rung=8,
    blame="batch_norm",
    explained_by=("bn-biased-variance",),
)
def bn_unbiased_variance(handle, size):
    norm = handle.model.batch_norm
    handle.model.batch_norm = nn.BatchNorm1d(norm.num_features, norm.eps, norm.momentum)


@bug(
    "momentum None: averages all batches",
    variant=AFTER,
    rung=8,
    blame="batch_norm",
    explained_by=("bn-momentum", "bn-biased-variance"),
)
def bn_cumulative_average(handle, size):
    norm = handle.model.batch_norm
    handle.model.batch_norm = nn.BatchNorm1d(norm.num_features, norm.eps, None)


@bug("moving statistics never move", variant=AFTER, rung=8, blame="batch_norm")
def bn_statistics_frozen(handle, size):
    handle.model.batch_norm.momentum = 0.0


@bug("moving statistics move twice per step", variant=AFTER, rung=8, blame="batch_norm")
def bn_tracked_twice(handle, size):
    def twice(self, x):
        BiasedBatchNorm._track(self, x)
        BiasedBatchNorm._track(self, x)

    track(handle, twice)


@bug("tracks what leaves, not what enters", variant=AFTER, rung=8, blame="batch_norm")
def bn_output_tracked(handle, size):
    def output(self, x):
        y = F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        BiasedBatchNorm._track(self, y.detach())

    track(handle, output)


@bug("tracks the deviation", variant=AFTER, rung=8, blame="batch_norm")
def bn_deviation_tracked(handle, size):
    def deviation(self, x):
        variance, mean = torch.var_mean(x, 0, correction=0)
        old = 1.0 - self.momentum
        self.running_mean.mul_(old).add_(mean * (1.0 - old))
        self.running_var.mul_(old).add_(variance.sqrt() * (1.0 - old))

    track(handle, deviation)


# Rung 9: evaluation.


@bug("leaves out epsilon to evaluate", variant=AFTER, rung=9, blame="batch_norm")
def bn_evaluates_without_epsilon(handle, size):
    def forward(self, x):
        if self.training:
            return BiasedBatchNorm.forward(self, x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, 0.0
        )

    override(handle.model.batch_norm, forward=forward)


@bug("logits clamped to ± 0.1 to evaluate", variant="mlp", rung=9, blame="output", size=0.1)
def logits_clamped(handle, size):
    def forward(self, x):
        logits = self.model(x)
        return logits if self.training else logits.clamp(-size, size)

    override(handle, forward=forward)
