"""Every operation rounds otherwise, by as much as rounding may do, and nothing else changes."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compare.backends.torch.rounding import rounded_otherwise

UNIT = torch.finfo(torch.float64).eps


def gradients(module, x):
    module.zero_grad()
    (module(x) ** 2).mean().backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm2d(4), (8, 4, 6, 6)),
        (nn.LayerNorm(6), (3, 4, 6)),
        (nn.GroupNorm(2, 4), (3, 4, 6)),
        (nn.Linear(6, 6), (3, 4, 6)),
        (nn.LSTM(6, 3), (3, 4, 6)),
    ],
    ids=["batch_norm", "layer_norm", "group_norm", "linear", "lstm"],
)
def test_what_is_computed_is_off_by_rounding_alone(norm, shape):
    torch.manual_seed(0)
    module = norm.double()
    if isinstance(module, nn.LSTM):
        module = nn.Sequential(module, First())
    other = copy.deepcopy(module)
    x = torch.randn(shape, dtype=torch.float64)
    expected = gradients(module, x)
    with rounded_otherwise(0, "float64"):
        moved = gradients(other, x)
    for a, b in zip(expected, moved, strict=True):
        assert 0.0 < (a - b).abs().max() < 1e3 * UNIT * max(1.0, a.abs().max().item())
    for (name, a), b in zip(module.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.allclose(a, b, rtol=1e3 * UNIT, atol=1e3 * UNIT), name


class First(nn.Module):
    def forward(self, outputs):
        return outputs[0]


def test_a_sum_over_many_places_is_off_by_more_than_one_over_few():
    def off(n):
        terms = torch.full((n,), 1.0 / n, dtype=torch.float64)
        with rounded_otherwise(0, "float64"):
            return abs(terms.sum().item() - 1.0)

    assert off(65536) > 8.0 * off(64)


def test_copies_and_views_stay_as_they_are():
    weight = torch.randn(50, dtype=torch.float64)
    target = torch.empty_like(weight)
    with rounded_otherwise(0, "float64"):
        target.copy_(weight)
        view = weight.view(5, 10)
        assert view.data_ptr() == weight.data_ptr()
        clone = weight.clone()
        weight.view(5, 10).t()
    assert torch.equal(target, weight)
    assert torch.equal(clone, weight)


def test_zeros_stay_zeros_and_whole_numbers_whole():
    with rounded_otherwise(0, "float64"):
        assert not (torch.zeros(20) + torch.zeros(20)).any()
        assert not torch.zeros(20).sum().any()
        assert torch.equal(torch.arange(5) + 1, torch.tensor([1, 2, 3, 4, 5]))


def test_generators_of_torch_are_left_alone():
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    with rounded_otherwise(0, "float64"):
        torch.ones(30) + torch.ones(30)
        drawn = torch.randn(4)
    assert torch.equal(drawn, expected)


def test_a_step_of_an_optimizer_writes_into_the_weights():
    layer = nn.Linear(3, 2).double()
    before = layer.weight.detach().clone()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    with rounded_otherwise(0, "float64"):
        layer(torch.ones(4, 3, dtype=torch.float64)).sum().backward()
        optimizer.step()
    assert (layer.weight - before).abs().min() > 0.01


def test_the_gradient_of_a_maximum_goes_where_the_maximum_is():
    x = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)
    with rounded_otherwise(0, "float64"):
        x.amax(1).sum().backward()
    assert torch.allclose(x.grad.sum(1), torch.ones(4, dtype=torch.float64))


def test_the_infinities_of_a_mask_stay_infinite():
    mask = torch.full((3, 3), -torch.inf, dtype=torch.float64).triu(1)
    with rounded_otherwise(0, "float64"):
        weights = (torch.ones(3, 3, dtype=torch.float64) + mask).softmax(-1)
    assert weights.isfinite().all()
    assert not weights.triu(1).any()


def test_a_resize_is_moved_on_the_device_where_it_is():
    images = torch.ones(1, 1, 4, 4, dtype=torch.float64, device="meta")
    with rounded_otherwise(0, "float64"):
        larger = F.interpolate(images, scale_factor=3, mode="bilinear")
    assert larger.device == images.device
