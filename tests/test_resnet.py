"""The deep twins, a small one of the same builders: port, parity, and bugs found in place."""

import numpy as np
import pytest
import torch
from torch import nn

import bn_torch
import compare
from bn_keras import adapter as keras_adapter
from bn_torch import adapter as torch_adapter

SIZES = {"blocks": (2, 1), "width": 4, "size": 32, "seed": 0}
SGD = {"learning_rate": 0.01, "momentum": np.float64(0.9)}
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(4, 32, 32, 3)), RNG.integers(0, 1000, 4)


def pair():
    with keras_adapter.building("float64"), torch_adapter.building("float64"):
        model = keras_adapter.build_classifier(**SIZES, sgd=SGD)
        module = torch_adapter.build_classifier(**SIZES, sgd=SGD)
    compare.port_weights(model, module, x=X)
    return model, module


def first(model, module):
    return compare.check_parity(model, module, X, Y, steps=1).first_divergence


def test_a_port_passes():
    model, module = pair()
    report = compare.check_parity(model, module, X, Y)
    assert report.passed, str(report)
    assert max(rung.max_abs for rung in report.rungs) < 1e-10


def stock(module):
    block = module.model.stages[0][1]
    norm = nn.BatchNorm2d(4, eps=1e-3, momentum=1.0 - 0.99, dtype=torch.float64)
    norm.load_state_dict(block.within.norm.state_dict(), strict=False)
    block.within.norm = norm


def stride_moved(module):
    block = module.model.stages[1][0]
    block.reduce.conv.stride, block.within.conv.stride = (1, 1), (2, 2)


BUGS = {
    "epsilon": (lambda m: setattr(m.model.stages[1][0].expand.norm, "eps", 1e-5), 4, "_3_bn"),
    "stride": (stride_moved, 4, "_1_conv"),
    "stock norm": (stock, 8, "conv2_block2_2_bn"),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_found_where_it_is(name):
    spoil, rung, layer = BUGS[name]
    model, module = pair()
    spoil(module)
    found = first(model, module)
    assert found.rung == rung
    assert found.layer == layer or found.layer == f"conv3_block1{layer}"


def test_fifty_layers_have_as_many_parameters_as_in_the_paper():
    network = bn_torch.build_resnet50()
    assert sum(p.numel() for p in network.parameters()) == 25_557_032
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules()) == 50 + 4


def test_a_loss_is_computed_in_the_dtype_of_the_model():
    model, module = pair()
    with keras_adapter.building("float32"):  # Keras' default, where most tests are written
        report = compare.check_parity(model, module, X, Y)
    assert report.passed, str(report)
