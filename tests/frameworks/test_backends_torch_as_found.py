"""Nobody can tell from a Torch module that it was traced, nor from how it trains on."""

import copy

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F

from compare.backends.torch import adapter

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(8, 3)), RNG.normal(size=(8, 2))
XT, YT = torch.from_numpy(X), torch.from_numpy(Y)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()


def looked_at(module, **options):
    adapter.trace_any(module, [(X, Y)] * 3, lambda name, array: None, **options)
    adapter.real_step(module, X, Y, lambda name, array: None, **options)
    adapter.optimizer_settings(module, options.get("objective"))


def trained(module, optimizer, steps=2):
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(module(XT), YT).backward()
        optimizer.step()


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, 0.01, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, 0.01),
    "adamax": lambda p: optim.Adamax(p, 0.01),
    "nadam": lambda p: optim.NAdam(p, 0.01),
    "rmsprop": lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, 0.1),
    "adadelta": lambda p: optim.Adadelta(p, 0.1),
    "lbfgs": lambda p: optim.LBFGS(p, 0.1, max_iter=3),
}


class Keeping(L.LightningModule):
    """Keeps its optimizer and its schedule, and counts and collects as it trains."""

    def __init__(self, make):
        super().__init__()
        self.net = net()
        self.kept = make(self.net.parameters())
        self.schedule = optim.lr_scheduler.ExponentialLR(self.kept, 0.5)
        self.count, self.losses, self.plain = 0, [], torch.zeros(1)

    def training_step(self, batch, index):
        self.count += 1
        self.plain += 1.0
        loss = F.mse_loss(self.net(batch[0]), batch[1])
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self):
        return {
            "optimizer": self.kept,
            "lr_scheduler": {"scheduler": self.schedule, "interval": "step"},
        }


def state(optimizer):
    return copy.deepcopy(optimizer.state_dict())


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "lbfgs"])
def test_a_module_that_keeps_its_optimizer_trains_on_as_if_nobody_had_looked(optimizer, before):
    module, untouched = (Keeping(OPTIMIZERS[optimizer]) for _ in range(2))
    for each in (module, untouched):
        trained(each.net, each.kept, before)
    found = state(module.kept), state(module.schedule)
    names = vars(module).keys(), vars(module.kept).keys(), vars(module.schedule).keys()
    names = [set(keys) for keys in names]
    looked_at(module)
    assert equal(state(module.kept), found[0])
    assert equal(state(module.schedule), found[1])
    assert (module.count, module.losses, float(module.plain)) == (0, [], 0.0)
    assert module._trainer is None
    after = vars(module).keys(), vars(module.kept).keys(), vars(module.schedule).keys()
    assert [set(keys) for keys in after] == names
    for each in (module, untouched):
        trained(each.net, each.kept)
    weights = zip(module.state_dict().values(), untouched.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_that_a_function_keeps_is_left_as_found(optimizer):
    module = net()
    kept = OPTIMIZERS[optimizer](module.parameters())
    if optimizer != "lbfgs":
        trained(module, kept)
    weights = copy.deepcopy(module.state_dict())
    schedule = optim.lr_scheduler.ExponentialLR(kept, 0.5)
    rates = [group["lr"] for group in kept.param_groups]
    found = state(kept)
    per_step = {"scheduler": schedule, "interval": "step"}
    looked_at(module, objective=(F.mse_loss, lambda parameters: ([kept], [per_step])))
    assert equal(state(kept), found)
    assert equal(module.state_dict(), weights)
    assert [group["lr"] for group in kept.param_groups] == rates
    assert schedule.last_epoch == 0


def test_hooks_that_a_module_adds_as_it_is_trained_are_taken_off():
    def doubled(parameter):
        parameter.grad.mul_(2.0)

    class Hooking(Keeping):
        def configure_optimizers(self):
            for parameter in self.parameters():
                parameter.register_hook(lambda gradient: -gradient)
                parameter.register_post_accumulate_grad_hook(doubled)
            optimizer = optim.SGD(self.parameters(), 0.1)
            optimizer.register_step_pre_hook(lambda *args: None)
            self.net.register_forward_hook(lambda *args: None)
            return optimizer

    module = Hooking(OPTIMIZERS["sgd"])
    looked_at(module)
    assert not module.net._forward_hooks
    F.mse_loss(module.net(XT), YT).backward()
    hooked = [p.grad.clone() for p in module.net.parameters()]
    twin = net()
    F.mse_loss(twin(XT), YT).backward()
    for gradient, parameter in zip(hooked, twin.parameters(), strict=True):
        assert torch.equal(gradient, parameter.grad)
    assert all(p._backward_hooks in (None, {}) for p in module.parameters())


def test_it_is_left_so_where_a_step_raises():
    class Failing(optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            raise RuntimeError("no step today")

    module = net()
    weights, found = copy.deepcopy(module.state_dict()), {}
    objective = (F.mse_loss, lambda p: Failing(p, 0.1))
    adapter.trace_any(module, [(X, Y)], found.__setitem__, objective=objective)
    assert str(found["error"]) == "RuntimeError: no step today"
    with pytest.raises(RuntimeError, match="no step today"):
        adapter.real_step(module, X, Y, found.__setitem__, objective=objective)
    assert equal(module.state_dict(), weights)
