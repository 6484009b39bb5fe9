import numpy as np
import pytest
import torch
from torch import nn

from bn_torch.recording import Recording


def record(model, x, loss=torch.sum):
    """Everything that one forward and one backward pass leave, by name."""
    found = {}
    recording = Recording(model, found.__setitem__)
    with recording.watching():
        loss(model(x)).backward()
    recording.finish()
    return found


def test_what_works_in_place_does_not_change_what_was_recorded():
    models = [
        nn.Sequential(nn.Linear(2, 8), nn.ReLU(inplace), nn.Linear(8, 1)) for inplace in (0, 1)
    ]
    models[1].load_state_dict(models[0].state_dict())
    x = torch.linspace(-1.0, 1.0, 6).reshape(3, 2)
    plain, in_place = (record(model, x) for model in models)
    assert plain["training/0/output"].min() < 0
    assert plain.keys() == in_place.keys()
    assert all(np.array_equal(plain[name], in_place[name]) for name in plain)


def test_gradients_are_those_of_the_tensors_that_passed():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    x = torch.ones(4, 2)
    found = record(model, x)
    weight = model[2].weight.detach().numpy()
    slope = 1.0 - np.tanh(found["training/0/output"]) ** 2
    np.testing.assert_allclose(found["backward/2/output"], np.ones((4, 1)))
    np.testing.assert_allclose(found["backward/2/input"], np.repeat(weight, 4, axis=0))
    np.testing.assert_allclose(found["backward/0/output"], weight * slope)
    assert "backward/0/input" not in found, "nobody asks for the gradient of the samples"


def test_images_come_channels_last():
    found = record(nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)), torch.ones(4, 2, 5, 6))
    assert found["training/0/input"].shape == (4, 5, 6, 2)
    for name in ("training/0/output", "backward/0/output", "backward/1/input"):
        assert found[name].shape == (4, 5, 6, 3)


class Reader(nn.Module):
    def __init__(self, state, batch_first):
        super().__init__()
        self.lstm = nn.LSTM(1, 3, batch_first=batch_first)
        self.state, self.batch_first = state, batch_first

    def forward(self, x):
        outputs, (h, _) = self.lstm(x if self.batch_first else x.transpose(0, 1))
        last = outputs[:, -1] if self.batch_first else outputs[-1]
        return {"outputs": last, "state": h[-1], "both": last + h[-1]}[self.state]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("state", "expected"), [("outputs", 1.0), ("state", 1.0), ("both", 2.0)])
def test_the_last_output_of_an_lstm_gathers_both_its_ways_out(state, expected, batch_first):
    found = record(Reader(state, batch_first), torch.ones(4, 2, 1))
    assert found["training/lstm/input"].shape == (4, 2, 1)
    assert found["training/lstm/output"].shape == (4, 3)
    np.testing.assert_array_equal(found["backward/lstm/output"], np.full((4, 3), expected))


def test_a_layer_that_runs_twice_is_noted_twice():
    layer = nn.Linear(2, 2)
    found = record(nn.Sequential(layer, nn.Tanh(), layer), torch.ones(1, 2))
    ends = {
        f"{mode}/{name}/{end}"
        for mode in ("training", "backward")
        for name in ("0", "0#2")
        for end in ("input", "output")
    }
    assert found.keys() == ends - {"backward/0/input"}


def test_what_a_layer_received_is_there_though_it_raised():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 1))
    found = {}
    recording = Recording(model, found.__setitem__)
    with pytest.raises(RuntimeError, match="shapes"), recording.watching():
        model(torch.ones(1, 2))
    assert set(found) == {"training/0/input", "training/0/output", "training/1/input"}
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model)
