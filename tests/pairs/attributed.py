"""Small pairs whose steps are traced from equal weights, to be attributed."""

from functools import partial

import keras
import lightning as L
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from compare.backends.loading import load
from compare.parity.explain.steps import attribute
from compare.porting.models import KerasSide, TorchSide
from compare.porting.same_start import SameStart

K, O, T = keras.layers, keras.optimizers, torch.optim  # noqa: E741
RNG = np.random.default_rng(0)
X, Y = 3 * RNG.normal(size=(8, 5)), 4 * RNG.normal(size=(8, 2))
EXACT = {"beta_1": np.float64(0.9), "beta_2": np.float64(0.999)}
STEPS = 3


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


class Lit(L.LightningModule):
    """Trains a network; `hook(parameters)` sees its gradients before the step."""

    def __init__(self, net, optimizer, hook=lambda parameters: None):
        super().__init__()
        self.net, self.optimizer, self.hook = net, optimizer, hook

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return F.mse_loss(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return self.optimizer(self.parameters())

    def on_before_optimizer_step(self, optimizer):
        self.hook(list(self.parameters()))


def dense():
    first, last = K.Dense(4, "tanh", name="a"), K.Dense(2, name="b")
    return keras.Sequential([keras.Input((5,)), first, last])


def traces(folder, ours, theirs, *, dtype="float64", hook=None, model=dense, net=Net, x=X, y=Y):
    """Keras' trace and Torch's, of the same weights and batches."""
    with load("keras").building(dtype), load("torch").building(dtype):
        keras.utils.set_random_seed(0)
        network = model()
        optimizer = ours()
        network.compile(optimizer, "mse")
        module = Lit(net(), theirs, hook or (lambda parameters: None))
        x = x if x.dtype.kind == "i" else x.astype(dtype)
        batches = [(x, y.astype(dtype))] * STEPS
        sides = KerasSide(network), TorchSide(module)
        weights = load("keras").read_weights(network)
        load("torch").write_weights(module, {f"net/{n}": w for n, w in weights.items()})
        one = sides[0].trace(batches, folder / "keras")
        inner = {layer["name"]: f"net/{layer['name']}" for layer in one.layers}
        other = sides[1].trace(batches, folder / "torch", partial(SameStart, one, inner))
        return one, other.renamed({old: new for new, old in inner.items()})


def attributed(folder, ours, theirs, step=1, **options):
    return attribute(*traces(folder, ours, theirs, **options), step)


def sgd(p, **options):
    return T.SGD(p, **{"lr": 0.1, **options})


def adam(p, **options):
    return T.Adam(p, **{"lr": 0.01, "eps": 1e-7, **options})


def scheduled(optimizer):
    schedule = T.lr_scheduler.ExponentialLR(optimizer, 0.9)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def clip_each(bound):
    def hook(parameters):
        for p in (p for p in parameters if p.grad is not None):
            p.grad.mul_(bound / torch.clamp(p.grad.norm(), min=bound))

    return hook


def clip_all(bound):
    return lambda parameters: nn.utils.clip_grad_norm_(parameters, bound)


def clip_values(bound):
    return lambda parameters: nn.utils.clip_grad_value_(parameters, bound)


def names(result):
    return {*result.causes, *(setting.partition(":")[0] for setting in result.settings)}
