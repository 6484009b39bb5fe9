"""How gradients were clipped is read off what the optimizer received."""

import pytest
import torch
from torch import nn

from compare.backends.torch.clipping import CLIP_GRAD_NORM_EPSILON, clipping

EPSILON = {"clip_epsilon": CLIP_GRAD_NORM_EPSILON}


def each(parameters, bound):
    for p in parameters:
        p.grad.mul_(bound / p.grad.norm().clamp(min=bound))


CLIPS = {
    "value": (lambda p: nn.utils.clip_grad_value_(p, 0.5), {"clip": "value", "clip_at": 0.5}),
    "norm": (lambda p: each(p, 0.7), {"clip": "norm", "clip_at": 0.7}),
    "all": (
        lambda p: nn.utils.clip_grad_norm_(p, 0.7),
        {"clip": "global-norm", "clip_at": 0.7, **EPSILON},
    ),
    "inactive": (lambda p: nn.utils.clip_grad_norm_(p, 1e6), {}),
    "turned round": (lambda p: [q.grad.neg_() for q in p], {}),
    "halved": (lambda p: [q.grad.mul_(0.5) for q in p], {}),
    "doubled": (lambda p: [q.grad.mul_(2.0) for q in p], {}),
    "set to zero": (lambda p: [q.grad.zero_() for q in p], {}),
    "not a number": (lambda p: p[0].grad.fill_(torch.nan), {}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tensors", [1, 3])
@pytest.mark.parametrize("name", CLIPS)
def test_the_kind_and_the_bound_are_read(name, tensors, dtype):
    act, expected = CLIPS[name]
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.zeros(4, 3, dtype=dtype)) for _ in range(tensors)]
    for p in parameters:
        p.grad = torch.randn_like(p)
    before = {id(p): p.grad.clone() for p in parameters}
    act(parameters)
    if name == "all" and tensors == 1 and dtype == torch.float32:
        expected = {"clip": "norm", "clip_at": 0.7}  # 1e-6 more is lost in rounding.
    assert clipping(parameters, before) == expected


def test_a_gradient_below_the_bound_is_left_and_the_others_are_clipped():
    large, small = (nn.Parameter(torch.zeros(5, dtype=torch.float64)) for _ in range(2))
    large.grad, small.grad = torch.arange(5.0).double(), torch.full_like(small, 1e-3)
    before = {id(p): p.grad.clone() for p in (large, small)}
    each([large, small], 0.25)
    assert clipping([large, small], before) == {"clip": "norm", "clip_at": 0.25}


def test_a_parameter_without_values_says_nothing():
    some, none = (nn.Parameter(torch.zeros(n, dtype=torch.float64)) for n in (5, 0))
    some.grad, none.grad = torch.arange(5.0).double(), torch.zeros_like(none)
    before = {id(p): p.grad.clone() for p in (some, none)}
    nn.utils.clip_grad_value_([some, none], 0.5)
    assert clipping([some, none], before) == {"clip": "value", "clip_at": 0.5}
