import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from compare.backends.torch import adapter

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(4, 2)), RNG.normal(size=(4, 2))


def moved(module):
    """Whether each norm's moving mean moved while the module was trained."""
    found = {}
    objective = F.mse_loss, lambda p: torch.optim.SGD(p, lr=0.1)
    adapter.trace_any(module, [(X, Y)], found.__setitem__, objective=objective)
    names = ("0", "1")
    return [np.any(found[f"step/1/statistics/{name}/moving_mean"] != 0.0) for name in names]


def test_what_is_in_eval_is_trained_in_training_mode_and_put_back():
    module = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)).double().eval()
    assert moved(module) == [True, True]
    assert not any(part.training for part in module.modules())


def test_a_part_that_is_deliberately_in_eval_stays_so():
    module = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)).double()
    module[0].eval()
    assert moved(module) == [False, True]
