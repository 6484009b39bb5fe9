import numpy as np
import pytest
import torch
from torch import nn

from compare.backends.torch.slots import slots
from compare.backends.torch.steps import learning_rates


class Idle(nn.Module):
    """A part that no gradient reaches."""

    def __init__(self):
        super().__init__()
        self.used, self.idle, self.frozen = nn.Linear(2, 1), nn.Linear(2, 1), nn.Linear(2, 1)
        self.frozen.requires_grad_(False)


def kept(build, of="parameters"):
    module = Idle()
    optimizer = build(getattr(module, of)())
    module.used(torch.ones(3, 2)).sum().backward()
    optimizer.step()
    return dict(slots(module, optimizer, learning_rates(optimizer)))


class ByHand(torch.optim.Optimizer):
    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})

    def step(self):
        for p in (p for p in self.param_groups[0]["params"] if p.grad is not None):
            self.state[p]["exp_avg"] = p.grad.clone()


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), {"velocity"}),
        (lambda p: torch.optim.SGD(p, lr=0.1), set()),
        (torch.optim.AdamW, {"first_moment", "second_moment"}),
        (torch.optim.RMSprop, {"second_moment"}),
        (torch.optim.NAdam, {"first_moment", "second_moment"}),
        (torch.optim.Adamax, {"first_moment", "infinity_norm"}),
        (torch.optim.Adadelta, {"second_moment", "squared_changes"}),
        (torch.optim.RAdam, set()),
        (ByHand, {"first_moment"}),
    ],
)
def test_slots_are_those_that_keras_has_and_zeros_without_a_gradient(build, expected):
    found = kept(build)
    tensors = [f"{layer}/{tensor}" for layer in ("used", "idle") for tensor in ("kernel", "bias")]
    assert found.keys() == {f"{tensor}/{slot}" for tensor in tensors for slot in expected}
    for name, value in found.items():
        assert np.any(value != 0.0) == name.startswith("used/")
        assert value.shape == ((2, 1) if "/kernel/" in name else (1,))
