import keras
import numpy as np

from compare.backends.keras import adapter
from compare.backends.keras.weights import read_weights

K = keras.layers
X = np.random.default_rng(0).normal(size=(6, 3))


def test_equally_deep_layers_run_in_the_order_in_which_they_were_written():
    entered = keras.Input((3,))
    model = keras.Model(entered, [K.Dense(2, name=name)(entered) for name in ("z", "b", "a")])
    before = model._nodes_by_depth
    assert [layer["name"] for layer in adapter.describe(model, X)] == ["z", "b", "a"]
    assert model._nodes_by_depth is before


def shared(layer):
    a, b = keras.Input((3,)), keras.Input((3,))
    model = keras.Model([a, b], [layer(a), layer(b)])
    model.compile("sgd", ["mse", "mse"], run_eagerly=True)
    found = {}
    adapter.trace(model, [([X, X + 1], [X, X])], found.__setitem__)
    return model, found


def test_runs_of_a_shared_layer_are_counted_as_they_were_written():
    _, found = shared(K.Dense(3, name="shared"))
    assert np.array_equal(found["training/shared/input"], X)
    assert np.array_equal(found["training/shared#2/input"], X + 1)


def test_a_shared_layer_that_remembers_keeps_its_order():
    model, found = shared(K.BatchNormalization(name="norm"))
    model.fit([X, X + 1], [X, X], batch_size=6, verbose=0, shuffle=False)
    name = "norm/moving_mean"
    assert np.array_equal(found[f"step/1/statistics/{name}"], read_weights(model)[name])


def test_what_runs_beside_attention_keeps_its_order():
    tokens = keras.Input((4,), dtype="int32")
    x = K.Embedding(5, 3, mask_zero=True)(tokens)
    # The first to run takes the mask off what both receive.
    outputs = [K.MultiHeadAttention(1, 2, name=name)(x, x) for name in ("one", "other")]
    model = keras.Model(tokens, outputs)
    tokens = np.array([[1, 2, 0, 0]])
    found = {}
    adapter.trace(model, [(tokens, None)], found.__setitem__)
    for i, output in enumerate(model(tokens)):
        assert np.array_equal(found[f"prediction/{i}"], output)
