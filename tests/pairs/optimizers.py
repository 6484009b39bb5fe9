"""Torch's optimizers with Keras' epsilon: remedies as a user writes them."""

import math

import torch


class _KerasEpsilon:
    """Keras adds epsilon before the second moment is corrected, Torch after."""

    def __init__(self, params, lr, *, epsilon=1e-7, **options):
        super().__init__(params, lr=lr, eps=epsilon, **options)
        self.epsilon = epsilon

    def step(self, closure=None):
        for group in self.param_groups:
            states = (self.state.get(p) or {} for p in group["params"])
            step = 1 + max((int(state.get("step", 0)) for state in states), default=0)
            group["eps"] = self.epsilon / math.sqrt(1.0 - group["betas"][1] ** step)
        return super().step(closure)


class KerasAdam(_KerasEpsilon, torch.optim.Adam):
    pass


class KerasAdamW(_KerasEpsilon, torch.optim.AdamW):
    pass


class KerasRMSprop(torch.optim.RMSprop):
    """RMSprop with epsilon inside the root, and Keras' defaults."""

    def __init__(self, params, lr, *, alpha=0.9, eps=1e-7):
        super().__init__(params, lr=lr, alpha=alpha, eps=eps)

    def step(self, closure=None):
        with torch.enable_grad():
            loss = None if closure is None else closure()
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self._move(p, group)
        return loss

    def _move(self, p, group):
        state = self.state[p]
        square = state.setdefault("square_avg", torch.zeros_like(p))
        square.mul_(group["alpha"]).add_((1.0 - group["alpha"]) * p.grad**2)
        p -= group["lr"] * p.grad / torch.sqrt(square + group["eps"])
