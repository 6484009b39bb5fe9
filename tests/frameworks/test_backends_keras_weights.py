import keras
import numpy as np
import pytest

import bn_keras
from compare.backends.keras.weights import read_weights, write_weights


def test_names_are_keras_own():
    names = list(read_weights(bn_keras.build_lstm("after")))
    lstm = ["lstm/kernel", "lstm/recurrent_kernel", "lstm/bias"]
    norm = [f"batch_norm/{n}" for n in ("gamma", "beta", "moving_mean", "moving_variance")]
    assert names == [*lstm, *norm, "output/kernel", "output/bias"]


def test_nested_models_are_named_by_path():
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")], name="inner")
    outer = keras.Sequential([keras.Input((3,)), inner, keras.layers.Dense(1, name="dense")])
    assert sorted(read_weights(outer)) == [
        "dense/bias",
        "dense/kernel",
        "inner/dense/bias",
        "inner/dense/kernel",
    ]


def test_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match="build it"):
        read_weights(keras.Sequential([keras.layers.Dense(1)], name="raw"))


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused(change):
    model = bn_keras.build_mlp()
    weights = read_weights(model)
    if change == "missing":
        del weights["hidden/bias"]
    elif change == "extra":
        weights["hidden/gamma"] = np.ones(50)
    else:
        weights["hidden/bias"] = np.ones(49)
    with pytest.raises(ValueError, match=r"hidden/(bias|gamma)|shape"):
        write_weights(model, weights)
