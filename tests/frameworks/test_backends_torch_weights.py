import numpy as np
import pytest
import torch
from torch import nn

import bn_torch
from compare.backends.torch.weights import read_weights, write_weights


def test_layouts_are_keras():
    model = bn_torch.build_cnn("after")
    weights = read_weights(model)
    assert weights["conv2/kernel"].shape == (3, 3, 32, 32)
    assert weights["conv2/kernel"][1, 2, 3, 4] == model.conv2.weight[4, 3, 1, 2].item()
    assert weights["output/kernel"].shape == (128, 1)


def test_lstm_bias_is_the_sum_and_is_written_to_one():
    model = bn_torch.build_lstm(single_bias=False)
    weights = read_weights(model)
    total = (model.lstm.bias_ih_l0 + model.lstm.bias_hh_l0).detach().numpy()
    assert np.array_equal(weights["lstm/bias"], total)
    write_weights(model, weights)
    assert not model.lstm.bias_hh_l0.any()
    assert np.array_equal(read_weights(model)["lstm/bias"], total)


def test_what_is_read_is_a_copy():
    model = bn_torch.build_mlp()
    read_weights(model)["hidden/kernel"][:] = 0.0
    assert model.hidden.weight.any()


@pytest.mark.parametrize("layer", [nn.LSTM(1, 2, proj_size=1), nn.Bilinear(1, 1, 1)])
def test_layers_without_a_rule_are_refused(layer):
    with pytest.raises(TypeError, match=r"no rule for the weights of \w+ \(0\)"):
        read_weights(nn.Sequential(layer))


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused(change):
    model = bn_torch.build_mlp()
    weights = read_weights(model)
    if change == "missing":
        del weights["hidden/bias"]
    elif change == "extra":
        weights["hidden/gamma"] = np.ones(50)
    else:
        weights["hidden/bias"] = np.ones(49)
    with pytest.raises(ValueError, match=r"hidden/(bias|gamma)"):
        write_weights(model, weights)


def test_modes_are_left_as_they_were():
    from compare.backends.torch import adapter

    module = bn_torch.BinaryClassifier(bn_torch.build_mlp("after"))
    module.model.batch_norm.eval()
    x = torch.zeros(4, 2, dtype=next(module.parameters()).dtype).numpy()
    adapter.predict_proba(module, x, batch_statistics=True)
    assert module.training
    assert not module.model.batch_norm.training
