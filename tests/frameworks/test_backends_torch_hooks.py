import numpy as np
import pytest
import torch
from torch import nn

from compare.backends.torch.hooks import Recording


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


def test_the_gradient_of_an_input_is_the_part_of_the_layer():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            x = self.first(x)
            x = x + self.second(x)
            x += 1.0
            return x

    found = record(model := Residual().double(), torch.ones(3, 2, dtype=torch.float64))
    part = np.repeat(model.second.weight.detach().numpy().sum(0, keepdims=True), 3, axis=0)
    np.testing.assert_allclose(found["backward/second/input"], part)
    np.testing.assert_allclose(found["backward/first/output"], part + 1.0)


def test_a_layer_called_with_keywords_is_noted():
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.linear = nn.Linear(2, 2), nn.Linear(2, 1)

        def forward(self, x):
            return self.linear(input=self.first(x))

    found = record(Keyword(), torch.ones(3, 2))
    assert {"training/linear/input", "backward/linear/input"} <= found.keys()


class Attending(nn.Module):
    def __init__(self, batch_first, own):
        super().__init__()
        self.read = nn.Linear(4, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=batch_first)
        self.own = own

    def forward(self, x):
        x = self.read(x)
        other = x if self.own else x * 2.0
        return self.attention(x, key=other, value=other, need_weights=False)[0]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_attention_is_noted_with_samples_first(batch_first, own):
    model = Attending(batch_first, own)
    x = torch.randn(3, 5, 4)
    found = {}
    recording = Recording(model, found.__setitem__, samples=3)
    with recording.watching():
        output = model(x if batch_first else x.transpose(0, 1))
    output.square().sum().backward()
    assert found["training/attention/input"].shape == (3, 5, 4)
    assert "training/attention/input_key" not in found
    scale = 1.0 if own else 2.0
    read = found["training/read/output"]
    np.testing.assert_array_equal(found["training/attention/input_value"], scale * read)
    returned = output.detach() if batch_first else output.detach().transpose(0, 1)
    np.testing.assert_array_equal(found["training/attention/output"], returned)
    # One tensor as query and value: their parts cannot be told apart.
    parts = [] if own else ["backward/attention/input", "backward/attention/input_value"]
    assert sorted(k for k in found if k.startswith("backward/attention/input")) == parts
    if not own:
        gradient = found[parts[0]] + 2.0 * found[parts[1]]
        np.testing.assert_allclose(found["backward/read/output"], gradient, rtol=1e-5)


@pytest.mark.parametrize("times", [5, 3])
def test_a_layer_between_sequences_with_time_first_is_noted_with_samples_first(times):
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.rnn = nn.Embedding(7, 2), nn.GRU(2, 4)
            self.norm = nn.LayerNorm(4)

        def forward(self, tokens):
            return self.norm(self.rnn(self.embed(tokens.t()))[0])

    tokens = torch.arange(3 * times).reshape(3, times) % 7
    found = {}
    model = TimeFirst()
    with Recording(model, found.__setitem__, samples=3).watching():
        output = model(tokens)
    np.testing.assert_array_equal(found["training/embed/input"], tokens)
    assert found["training/rnn/input"].shape == (3, times, 2)
    np.testing.assert_array_equal(found["training/norm/output"], output.detach().transpose(0, 1))


def test_nothing_is_taken_for_time_where_no_layer_takes_time_first():
    positions = torch.arange(3).unsqueeze(0)
    found = {}
    model = nn.Sequential(nn.Embedding(7, 2), nn.Linear(2, 2))
    with Recording(model, found.__setitem__, samples=3).watching():
        model(positions)
    assert found["training/0/input"].shape == (1, 3)
    assert found["training/1/output"].shape == (1, 3, 2)


def test_an_rnn_of_several_layers_and_directions_is_noted_as_its_layers():
    class Reader2(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(2, 3, num_layers=2, bidirectional=True, batch_first=True)

        def forward(self, x):
            sequence, _ = self.rnn(x)
            return torch.cat([sequence[:, -1, :3], sequence[:, 0, 3:]], -1)

    x = torch.randn(4, 5, 2, requires_grad=True)
    model = Reader2()
    found = record(model, x)
    assert set(found) == {
        "training/rnn/layer_0/input",
        "training/rnn/layer_1/output",
        "backward/rnn/layer_0/input",
        "backward/rnn/layer_1/output",
    }
    np.testing.assert_array_equal(found["training/rnn/layer_1/output"], model(x).detach())
    np.testing.assert_array_equal(found["backward/rnn/layer_1/output"], np.ones((4, 6)))
    np.testing.assert_array_equal(found["backward/rnn/layer_0/input"], x.grad)


def test_packed_sequences_are_noted_padded():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.read, self.rnn = nn.Linear(2, 2), nn.LSTM(2, 3, batch_first=True)

        def forward(self, x):
            lengths = torch.tensor([2, 4])
            packed = nn.utils.rnn.pack_padded_sequence(
                self.read(x), lengths, batch_first=True, enforce_sorted=False
            )
            return self.rnn(packed)[1][0][-1]

    model = Packed()
    x = torch.randn(2, 4, 2)
    found = record(model, x)
    assert found["training/rnn/input"].shape == (2, 4, 2)
    assert not found["training/rnn/input"][0, 2:].any()
    np.testing.assert_array_equal(found["training/rnn/output"], model(x).detach())
    np.testing.assert_array_equal(found["backward/rnn/input"], found["backward/read/output"])


class Aliasing(dict):
    def __call__(self, name, array):
        self[name] = array

    def alias(self, new, old):
        self[new] = old


def test_an_input_that_is_the_output_before_may_be_an_alias():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Conv2d(2, 1, 1)
    )
    sink = Aliasing()
    with Recording(model, sink).watching():
        model(torch.randn(2, 1, 3, 3))
    assert sink["training/1/input"] == "training/0/output"
    assert isinstance(sink["training/3/input"], np.ndarray), "changed in place meanwhile"


def test_recording_changes_no_value():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(2)
    )
    x = torch.randn(4, 3, 9, 9)
    model(x)
    model.zero_grad()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    results = []
    for recorded in (False, True):
        model.load_state_dict(start)
        model.zero_grad()
        if recorded:
            record(model, x, lambda y: y.square().mean())
        else:
            model(x).square().mean().backward()
        gradients = [p.grad.clone() for p in model.parameters()]
        results.append([*gradients, *(t.clone() for t in model.state_dict().values())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
