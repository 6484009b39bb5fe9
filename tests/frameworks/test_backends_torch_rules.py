"""Every rule: what is read is what is written, and the canonical arrays are Keras' arithmetic."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bn_torch import BiasedBatchNorm
from compare.backends.torch.rules import RULES, add_rule
from compare.backends.torch.weights import (
    named_tensors,
    read_weights,
    weighted_layers,
    write_weights,
)

DOUBLE = torch.float64
LAYERS = {
    "dense": nn.Linear(3, 4),
    "conv": nn.Conv2d(3, 4, (2, 5)),
    "grouped": nn.Conv1d(4, 6, 3, groups=2),
    "depthwise": nn.Conv2d(3, 6, 2, groups=3),
    "conv_3d": nn.Conv3d(1, 2, (1, 2, 3), bias=False),
    "transposed": nn.ConvTranspose2d(3, 4, (2, 5)),
    "batch_norm": nn.BatchNorm1d(3),
    "biased_norm": BiasedBatchNorm(3),
    "bare_norm": nn.BatchNorm2d(3, affine=False),
    "untracked": nn.BatchNorm2d(3, track_running_stats=False),
    "layer_norm": nn.LayerNorm(4, bias=False),
    "group_norm": nn.GroupNorm(2, 4),
    "embedding": nn.Embedding(5, 3),
    "rnn": nn.RNN(3, 2),
    "lstm": nn.LSTM(3, 2),
    "gru": nn.GRU(3, 2, bidirectional=True, num_layers=2),
    "unbiased_gru": nn.GRU(3, 2, bias=False),
    "attention": nn.MultiheadAttention(4, 2),
    "cross_attention": nn.MultiheadAttention(4, 2, kdim=3, vdim=5, bias=False),
}
SHAPES = {
    "conv/kernel": (2, 5, 3, 4),
    "grouped/kernel": (3, 2, 6),
    "depthwise/kernel": (2, 2, 3, 2),
    "transposed/kernel": (2, 5, 4, 3),
    "embedding/embeddings": (5, 3),
    "rnn/kernel": (3, 2),
    "lstm/bias": (8,),
    "gru/layer_1/backward/kernel": (4, 6),
    "gru/layer_0/forward/bias": (2, 6),
    "attention/query/kernel": (4, 2, 2),
    "attention/value/bias": (2, 2),
    "attention/attention_output/kernel": (2, 2, 4),
    "cross_attention/key/kernel": (3, 2, 2),
    "cross_attention/value/kernel": (5, 2, 2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_written_is_read_and_computes_the_same(name):
    layer = LAYERS[name].double()
    drawn = np.random.default_rng(0)
    values = {k: drawn.random(v.shape) + 0.5 for k, v in read_weights(layer).items()}
    write_weights(layer, values)
    again = read_weights(layer)
    assert again.keys() == values.keys()
    assert all(np.array_equal(again[key], values[key]) for key in values)
    assert sum(w.trained for w in weighted_layers(layer).values()) == sum(
        value.size for key, value in values.items() if "moving" not in key
    )


def test_shapes_are_those_of_keras():
    weights = read_weights(nn.ModuleDict(LAYERS))
    assert {key: weights[key].shape for key in SHAPES} == SHAPES
    assert not [key for key in weights if key.startswith("untracked/moving")]
    assert {"bare_norm/moving_mean", "layer_norm/gamma"} <= weights.keys()
    assert not {"bare_norm/gamma", "layer_norm/beta"} & weights.keys()


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def gru(x, w):
    """Keras' GRU with `reset_after=True`; the final state."""
    h = np.zeros((len(x), w["recurrent_kernel"].shape[0]))
    for t in range(x.shape[1]):
        xz, xr, xh = np.split(x[:, t] @ w["kernel"] + w["bias"][0], 3, axis=1)
        hz, hr, hh = np.split(h @ w["recurrent_kernel"] + w["bias"][1], 3, axis=1)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        h = z * h + (1.0 - z) * np.tanh(xh + r * hh)
    return h


def lstm(x, w):
    h = c = np.zeros((len(x), w["recurrent_kernel"].shape[0]))
    for t in range(x.shape[1]):
        gates = x[:, t] @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"]
        i, f, g, o = np.split(gates, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return h


def simple_rnn(x, w):
    h = np.zeros((len(x), w["recurrent_kernel"].shape[0]))
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"])
    return h


def own(weights, prefix):
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


@pytest.mark.parametrize(("type_", "cell"), [(nn.RNN, simple_rnn), (nn.LSTM, lstm), (nn.GRU, gru)])
def test_recurrent_weights_are_keras_arithmetic(type_, cell):
    layer = type_(3, 2, bidirectional=True, batch_first=True, dtype=DOUBLE)
    x = torch.randn(4, 5, 3, dtype=DOUBLE)
    state = layer(x)[1]
    state = (state[0] if isinstance(state, tuple) else state).detach().numpy()
    kind = next(iter(weighted_layers(layer)))
    weights = own(read_weights(layer), f"{kind}/")
    np.testing.assert_allclose(cell(x.numpy(), own(weights, "forward/")), state[0], atol=1e-14)
    backward = cell(x.numpy()[:, ::-1], own(weights, "backward/"))
    np.testing.assert_allclose(backward, state[1], atol=1e-14)


@pytest.mark.parametrize("kdim", [4, 3])
def test_attention_weights_are_keras_arithmetic(kdim):
    layer = nn.MultiheadAttention(4, 2, kdim=kdim, vdim=4, batch_first=True, dtype=DOUBLE)
    nn.init.normal_(layer.in_proj_bias)
    nn.init.normal_(layer.out_proj.bias)
    query, value = torch.randn(2, 3, 4, dtype=DOUBLE), torch.randn(2, 5, 4, dtype=DOUBLE)
    key = torch.randn(2, 5, kdim, dtype=DOUBLE)
    w = own(read_weights(layer), "attention/")
    q, k, v = (
        np.einsum("ntd,dhk->nthk", x.numpy(), w[f"{role}/kernel"]) + w[f"{role}/bias"]
        for role, x in (("query", query), ("key", key), ("value", value))
    )
    scores = np.exp(np.einsum("nthk,nshk->nhts", q, k) / np.sqrt(2))
    mixed = np.einsum("nhts,nshv->nthv", scores / scores.sum(-1, keepdims=True), v)
    out = np.einsum("nthv,hvd->ntd", mixed, w["attention_output/kernel"])
    expected = layer(query, key, value)[0].detach().numpy()
    np.testing.assert_allclose(out + w["attention_output/bias"], expected, atol=1e-14)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolution_weights_are_keras_arithmetic(groups):
    layer = nn.Conv1d(4, 8, 3, groups=groups, dtype=DOUBLE)
    x = torch.randn(2, 4, 7, dtype=DOUBLE)
    w = own(read_weights(layer), "depthwise_conv/" if groups == 4 else "conv/")
    # (k, in, multiplier) of a depthwise one: each output sees one channel.
    kernel = w["kernel"].reshape(3, 1, 8) if groups == 4 else w["kernel"]
    out = np.zeros((2, 5, 8))
    inputs, outputs = 4 // groups, 8 // groups
    for o in range(8):
        first = o // outputs * inputs
        for t in range(5):
            window = x.numpy()[:, first : first + inputs, t : t + 3].transpose(0, 2, 1)
            out[:, t, o] = (window * kernel[..., o]).sum((1, 2)) + w["bias"][o]
    np.testing.assert_allclose(out.transpose(0, 2, 1), layer(x).detach().numpy(), atol=1e-14)


def test_transposed_convolution_weights_are_keras_arithmetic():
    layer = nn.ConvTranspose1d(3, 2, 4, stride=2, dtype=DOUBLE)
    x = torch.randn(2, 3, 5, dtype=DOUBLE)
    w = own(read_weights(layer), "conv_transpose/")
    out = np.zeros((2, 12, 2)) + w["bias"]
    for t in range(5):
        out[:, 2 * t : 2 * t + 4] += np.einsum("ni,koi->nko", x.numpy()[:, :, t], w["kernel"])
    np.testing.assert_allclose(out.transpose(0, 2, 1), layer(x).detach().numpy(), atol=1e-14)


def test_weights_in_another_memory_format_are_written():
    layer = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    drawn = np.random.default_rng(0)
    values = {key: drawn.random(value.shape) for key, value in read_weights(layer).items()}
    write_weights(layer, values)
    np.testing.assert_allclose(read_weights(layer)["conv/kernel"], values["conv/kernel"], 1e-6)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_biases_that_keras_sums_have_one_gradient_and_count_once():
    layer = nn.LSTM(3, 2)
    layer(torch.ones(1, 1, 3))[0].sum().backward()
    gradient = named_tensors(layer, lambda p: p.grad, alone=True)["lstm/bias"]
    assert torch.equal(gradient, layer.bias_ih_l0.grad)
    twice = named_tensors(layer, lambda p: p.grad)["lstm/bias"]
    assert torch.equal(twice, 2 * gradient)
    layer.bias_hh_l0.requires_grad_(False)
    assert weighted_layers(layer)["lstm"].trained == 3 * 8 + 2 * 8 + 8


def test_one_layer_under_two_names_is_one():
    layer = nn.Linear(2, 2)
    assert list(weighted_layers(nn.ModuleDict({"a": layer, "b": nn.Sequential(layer)}))) == ["a"]


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(2, 3)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.proj(x) * self.scale


@pytest.fixture
def scaled_rule():
    names = {"kernel": ("proj.weight", (1, 0)), "bias": "proj.bias", "scale": "scale"}
    add_rule(Scaled, names, kind="ScaledDense")
    yield
    del RULES[Scaled]


@pytest.mark.usefixtures("scaled_rule")
def test_a_rule_of_the_user_makes_a_layer_a_whole():
    model = nn.Sequential(Scaled())
    assert {name: layer.kind for name, layer in weighted_layers(model).items()} == {
        "0": "ScaledDense"
    }
    weights = read_weights(model)
    assert weights["0/kernel"].shape == (2, 3)
    weights["0/kernel"][1, 2] = 7.0
    write_weights(model, weights)
    assert model[0].proj.weight[2, 1] == 7.0


def test_tensors_that_a_rule_does_not_name_are_refused():
    with pytest.raises(TypeError, match=r"weights of Scaled \(0\): .*@compare.weight_rule"):
        read_weights(nn.Sequential(Scaled()))
    add_rule(Scaled, {"kernel": "proj.weight"})
    try:
        with pytest.raises(TypeError, match=r"Scaled \(the module itself\): proj.bias, scale"):
            read_weights(Scaled())
    finally:
        del RULES[Scaled]
    with pytest.raises(TypeError, match="expected a subclass"):
        add_rule(int, {})
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="weight"):
        read_weights(normed)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.LSTM(3, 2, proj_size=1), "proj_size=1"),
        (nn.ConvTranspose1d(2, 2, 3, groups=2), "groups=2"),
        (nn.LayerNorm((2, 3)), "2 axes"),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), "bias_k"),
        (nn.PReLU(), "register one"),
    ],
)
def test_what_keras_cannot_hold_is_refused_by_name(layer, why):
    with pytest.raises(
        TypeError, match=rf"no rule for .*{type(layer).__name__} \(block.0\).*{why}"
    ):
        read_weights(nn.ModuleDict({"block": nn.Sequential(layer)}))


def test_a_lazy_layer_must_have_been_called():
    layer = nn.LazyLinear(2)
    with pytest.raises(ValueError, match="call the module once"):
        read_weights(nn.Sequential(layer))
    F.relu(layer(torch.ones(1, 3)))
    assert read_weights(layer)["dense/kernel"].shape == (3, 2)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (("proj.weight", (2, 0, 1)), r"transposes 'proj.weight', \(3, 2\), by \(2, 0, 1\)"),
        (("proj.weight", (0, 0)), r"transposes 'proj.weight', \(3, 2\), by \(0, 0\)"),
        ("proj.wieght", "names 'proj.wieght', which it does not have"),
        ("proj", "names 'proj', which is no parameter or buffer"),
    ],
)
def test_a_rule_that_does_not_fit_is_one_line(kernel, message):
    add_rule(Scaled, {"kernel": kernel, "bias": "proj.bias", "scale": "scale"})
    try:
        with pytest.raises(TypeError, match=rf"Scaled \(0\): its rule {message}") as raised:
            read_weights(nn.Sequential(Scaled()))
    finally:
        del RULES[Scaled]
    assert "\n" not in str(raised.value)
