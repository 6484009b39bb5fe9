"""Layers written out equal Torch's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import EXACT_LAYER, FORWARD
from torch import nn
from torch.func import functional_call, grad

from bn_torch.lstm import build_lstm
from bn_torch.mlp import build_mlp
from bn_torch.norm import BiasedBatchNorm
from compare.backends.torch.many_seeds import UnrolledBatchNorm, UnrolledLSTM, unrolled

pytestmark = pytest.mark.usefixtures("both")


def largest(a, b):
    return (a - b).abs().max().item()


def gradients(module, x):
    def loss(parameters):
        return functional_call(module, parameters, (x,))[0].square().sum()

    return grad(loss)(dict(module.named_parameters()))


@given(
    seed=st.integers(0, 99),
    steps=st.integers(1, 4),
    batch_first=st.booleans(),
    features=st.integers(1, 3),
)
def test_an_lstm_and_its_gradients(seed, steps, batch_first, features):
    torch.manual_seed(seed)
    lstm = nn.LSTM(features, 5, batch_first=batch_first)
    x = torch.randn((7, steps, features) if batch_first else (steps, 7, features))
    written = UnrolledLSTM(lstm)
    expected, _ = lstm(x)
    found, _ = written(x)
    assert largest(found, expected) <= FORWARD
    wanted, returned = gradients(lstm, x), gradients(written, x)
    assert max(largest(returned[name], wanted[name]) for name in wanted) <= EXACT_LAYER


@given(
    seed=st.integers(0, 99),
    kind=st.sampled_from([nn.BatchNorm1d, nn.BatchNorm2d, BiasedBatchNorm]),
    affine=st.booleans(),
    momentum=st.sampled_from([0.01, 0.1, 1.0]),
)
def test_a_batch_norm_in_both_modes(seed, kind, affine, momentum):
    torch.manual_seed(seed)
    norm = kind(4, eps=1e-3, momentum=momentum, affine=affine)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = 3.0 + 4.0 * torch.randn((6, 4, 2, 3) if kind is nn.BatchNorm2d else (6, 4))
    written = unrolled(nn.Sequential(norm))
    assert isinstance(written[0], UnrolledBatchNorm)
    for training in (True, False):
        norm.train(training)
        written.train(training)
        assert largest(written(x), norm(x)) <= EXACT_LAYER
        assert largest(written[0].running_mean, norm.running_mean) <= EXACT_LAYER
        assert largest(written[0].running_var, norm.running_var) <= EXACT_LAYER


@pytest.mark.parametrize("build", [build_lstm, build_mlp])
def test_the_original_and_its_weights_stay_as_they_were(build):
    module = build("after")
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    copied = unrolled(module)
    assert copied.state_dict().keys() == before.keys()
    for tensor in copied.state_dict().values():
        tensor.add_(1.0)
    assert all(torch.equal(tensor, before[k]) for k, tensor in module.state_dict().items())
    assert not any(isinstance(m, nn.LSTM | BiasedBatchNorm) for m in copied.modules())
