import keras
import numpy as np

import bn_keras
from bn_keras.recording import recording


def test_a_fused_activation_is_looked_behind_and_put_back():
    model = bn_keras.build_mlp("after")
    activation = model.get_layer("hidden").activation
    before = {layer.name: set(layer.__dict__) for layer in model.layers}
    x = keras.ops.convert_to_tensor(np.array([[0.3, -0.7], [-1.0, 0.2]]))
    with recording(model) as passed:
        model(x, training=False)
    assert list(passed) == ["hidden", "batch_norm", "output"]
    entered, left = (t.numpy() for t in passed["hidden"])
    kernel, bias = (w.numpy() for w in model.get_layer("hidden").weights)
    assert np.allclose(left, entered @ kernel + bias, rtol=0, atol=1e-15)
    assert left.min() < 0.0 <= passed["batch_norm"][0].numpy().min()
    assert model.get_layer("hidden").activation is activation
    assert {layer.name: set(layer.__dict__) for layer in model.layers} == before


def test_a_layer_that_runs_twice_is_noted_twice():
    layer = keras.layers.Dense(2, name="shared")
    entered = keras.Input((2,))
    model = keras.Model(entered, layer(layer(entered)))
    with recording(model) as passed:
        model(keras.ops.ones((1, 2)))
    assert list(passed) == ["shared", "shared#2"]
    assert np.array_equal(passed["shared"][1].numpy(), passed["shared#2"][0].numpy())


def test_a_recurrent_layer_gives_its_last_output():
    model = keras.Sequential(
        [keras.Input((3, 2)), keras.layers.LSTM(4, return_sequences=True, name="lstm")]
    )
    with recording(model) as passed:
        whole = model(keras.ops.ones((5, 3, 2)))
    assert np.array_equal(passed["lstm"][1].numpy(), whole.numpy()[:, -1])


def test_a_model_is_put_back_after_an_error():
    model = bn_keras.build_mlp()
    try:
        with recording(model):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert "call" not in model.get_layer("hidden").__dict__
