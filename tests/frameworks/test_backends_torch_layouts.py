"""How samples and targets get to a module, and its output back."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compare.backends.torch import adapter
from compare.backends.torch.layouts import channels_first, of_samples

RNG = np.random.default_rng(0)
IMAGE, Y = RNG.normal(size=(4, 5, 6, 2)), RNG.normal(size=(4, 1))


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def trace(module, x, y, loss=F.mse_loss, **changes):
    found = {}
    objective = (loss, sgd)
    adapter.trace_any(module, [(x, y)], found.__setitem__, objective=objective, **changes)
    assert "error" not in found, found["error"]
    return found


class Ordered(nn.Module):
    """Holds a dense layer first, and runs it last."""

    def __init__(self, first, channels):
        super().__init__()
        self.head, self.first = nn.Linear(channels, 1), first

    def forward(self, x):
        x = self.first(x)
        return self.head((x[0] if isinstance(x, tuple) else x).flatten(2).mean(2))


class Moving(nn.Module):
    """Takes samples in Keras' layout, and moves their channels itself."""

    def __init__(self, first):
        super().__init__()
        self.first = first

    def forward(self, x):
        return self.first(x.movedim(-1, 1)).flatten(2).mean(2)


@pytest.mark.parametrize(
    ("module", "shape", "moved"),
    [
        (Moving(nn.Conv1d(2, 3, 2)), (4, 5, 2), (4, 5, 2)),
        (Moving(nn.Conv2d(2, 3, 2)), (4, 5, 6, 2), (4, 5, 6, 2)),
        (Moving(nn.Conv3d(2, 3, 2)), (4, 5, 6, 7, 2), (4, 5, 6, 7, 2)),
        (Ordered(nn.Conv1d(2, 3, 2), 3), (4, 5, 2), (4, 2, 5)),
        (Ordered(nn.BatchNorm1d(2), 2), (4, 5, 2), (4, 2, 5)),
        (nn.GRU(2, 3, batch_first=True), (4, 5, 2), (4, 5, 2)),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(10)), (4, 5, 2), (4, 5, 2)),
        (Ordered(nn.Conv3d(2, 3, 2), 3), (4, 5, 6, 7, 2), (4, 2, 5, 6, 7)),
        (nn.Sequential(nn.Flatten(), nn.Linear(60, 1)), (4, 5, 6, 2), (4, 5, 6, 2)),
    ],
)
def test_channels_move_where_the_module_wants_them(module, shape, moved):
    x = RNG.normal(size=shape)
    arrange = of_samples(module.double(), x)
    tensor = arrange.to_torch(x)
    assert tuple(tensor.shape) == moved
    np.testing.assert_array_equal(arrange.to_keras(tensor).numpy(), x)


def test_a_map_of_the_users_is_taken_as_it_is():
    module = nn.Sequential(nn.Flatten(), nn.Linear(10, 1)).double()
    x = RNG.normal(size=(4, 5, 2))
    found = trace(module, x, Y, to_torch=lambda x: x.transpose(0, 2, 1))
    np.testing.assert_array_equal(found["step/1/data/x"], x)
    received = x.transpose(0, 2, 1).reshape(4, 10)
    np.testing.assert_array_equal(found["training/1/input"], received)
    with pytest.raises(ValueError, match="to_torch raised TypeError"):
        trace(module, x, Y, to_torch=lambda x: x + None)


@pytest.mark.parametrize(
    ("shape", "returned", "expected"),
    [
        ((4, 3, 8, 9), [("conv", (4, 3, 8, 9))], True),
        ((4, 3, 4, 5), [("conv", (4, 3, 8, 9))], True),  # pooled
        ((4, 8, 9, 3), [("conv", (4, 3, 8, 9))], False),  # the module moved them itself
        ((4, 3), [("conv", (4, 3, 8, 9))], False),
        ((4, 5, 3), [("conv", (4, 3, 5)), ("dense", (4, 5, 3))], False),
        ((4, 6, 5), [("conv", (4, 3, 5))], False),
        ((4, 3, 3, 3), [("dense", (4, 27)), ("conv_transpose", (4, 3, 3, 3))], True),
        ((4, 3, 5), [], False),
    ],
)
def test_where_an_output_has_its_channels(shape, returned, expected):
    shapes = [(kind, torch.Size(s)) for kind, s in returned]
    assert channels_first(torch.Size(shape), shapes) is expected


@pytest.mark.parametrize("size", [4, 3])
def test_images_that_are_targets_move_as_the_samples_do(size):
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(2, 3, 1)).double()
    x = RNG.normal(size=(2, size, size, 3))
    found = trace(module, x, x)
    np.testing.assert_array_equal(found["step/1/data/y"], x)
    output = found["prediction"]
    assert output.shape == x.shape
    np.testing.assert_array_equal(output, found["evaluation/2/output"])
    loss = np.mean((found["training/2/output"] - x) ** 2)
    np.testing.assert_allclose(found["step/1/loss"], loss)


def test_maps_of_classes_stay():
    module = nn.Conv2d(2, 3, 1).double()
    y = RNG.integers(0, 3, (4, 5, 6))
    found = trace(module, IMAGE, y, loss=F.cross_entropy)
    np.testing.assert_array_equal(found["step/1/data/y"], y)
    assert found["prediction"].shape == (4, 5, 6, 3)


def test_targets_may_have_a_map_of_their_own():
    module = nn.Linear(2, 3).double()
    y = RNG.normal(size=(4, 5, 6, 1))
    found = trace(module, IMAGE, y, targets_to_torch=lambda y: y.repeat(3, axis=-1))
    np.testing.assert_array_equal(found["step/1/data/y"], y)


def test_a_sequence_that_comes_out_with_time_first_is_recorded_with_samples_first():
    module = nn.GRU(2, 3).double()
    x = RNG.normal(size=(4, 5, 2))
    found = {}
    adapter.trace_any(module, [(x, None)], found.__setitem__, to_torch=lambda x: x.swapaxes(0, 1))
    assert found["training/gru/input"].shape == (4, 5, 2)
    assert found["prediction/0"].shape == (4, 5, 3)
    last = found["prediction/0"][:, -1]
    np.testing.assert_allclose(found["evaluation/gru/output"], last)
