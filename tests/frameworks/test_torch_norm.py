"""The biased batch norm against Keras' layer and against Torch's own, in every option."""

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import EXACT_LAYER
from torch import nn

from bn_torch import BiasedBatchNorm


@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 9),
    space=st.sampled_from([(), (3,), (2, 3)]),
    affine=st.booleans(),
    decay=st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]),
)
# The same draws every time: the bound was measured, and a rarer draw may round a little more.
@settings(max_examples=40, deadline=None, derandomize=True)
def test_equals_keras_layer(both, seed, batch, space, affine, decay):
    """Output in both modes and moving statistics after two batches; batches of one included."""
    rng = np.random.default_rng(seed)
    layer = keras.layers.BatchNormalization(
        momentum=decay, epsilon=1e-3, center=affine, scale=affine, dtype="float64"
    )
    norm = BiasedBatchNorm(4, eps=1e-3, momentum=1.0 - decay, affine=affine).double()
    layer.build((None, *space, 4))
    if affine:
        gamma, beta = rng.normal(size=(2, 4))
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)
        norm.weight.data, norm.bias.data = torch.tensor(gamma), torch.tensor(beta)
    for _ in range(2):
        x = rng.normal(3.0, 4.0, (batch, *space, 4))
        moved = torch.tensor(np.moveaxis(x, -1, 1).copy())
        for training in (True, False):
            ours = np.moveaxis(norm.train(training)(moved).detach().numpy(), 1, -1)
            theirs = keras.ops.convert_to_numpy(layer(x, training=training))
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=EXACT_LAYER)
    for ours, theirs in (
        (norm.running_mean, layer.moving_mean),
        (norm.running_var, layer.moving_variance),
    ):
        np.testing.assert_allclose(
            ours.numpy(), keras.ops.convert_to_numpy(theirs), rtol=0, atol=EXACT_LAYER
        )


def test_differs_from_torch_in_the_running_variance_alone():
    x = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours, stock = BiasedBatchNorm(3).double(), nn.BatchNorm1d(3).double()
    assert torch.allclose(ours(x), stock(x), rtol=0, atol=EXACT_LAYER)
    assert torch.allclose(ours.running_mean, stock.running_mean, rtol=0, atol=EXACT_LAYER)
    factor = (stock.running_var - 0.9) / (ours.running_var - 0.9)
    assert torch.allclose(factor, torch.full((3,), 20 / 19).double(), rtol=0, atol=EXACT_LAYER)


def test_lightning_cannot_replace_it():
    from torch.nn.modules.batchnorm import _BatchNorm

    assert not isinstance(BiasedBatchNorm(2), _BatchNorm)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(BiasedBatchNorm(2)))
    assert type(converted[0]) is BiasedBatchNorm


@pytest.mark.parametrize("affine", [True, False])
def test_gradients_flow_as_in_torch(affine):
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    grads = []
    for norm in (BiasedBatchNorm(3, affine=affine), nn.BatchNorm1d(3, affine=affine)):
        inputs = x.clone().requires_grad_()
        norm.double()(inputs).pow(3).sum().backward()
        grads.append(inputs.grad)
    assert torch.allclose(*grads, rtol=0, atol=EXACT_LAYER)
