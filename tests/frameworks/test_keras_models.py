import keras
import pytest

import bn_keras


def layers(model):
    return [type(layer).__name__ for layer in model.layers]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (None, ["Dense", "Dense"]),
        ("after", ["Dense", "BatchNormalization", "Dense"]),
        ("before", ["Dense", "BatchNormalization", "Activation", "Dense"]),
        ("input", ["BatchNormalization", "Dense", "Dense"]),
    ],
)
def test_mlp_layers(place, expected):
    model = bn_keras.build_mlp(place)
    assert layers(model) == expected
    assert model.output_shape == (None, 1)
    assert isinstance(model.get_layer("hidden").kernel_initializer, keras.initializers.HeUniform)
    fused = model.get_layer("hidden").activation is keras.activations.relu
    assert fused is (place != "before")


def test_mlp_batch_norm_options():
    norm = bn_keras.build_mlp("after", affine=False, momentum=0.0).get_layer("batch_norm")
    assert (norm.momentum, norm.epsilon, norm.center, norm.scale) == (0.0, 1e-3, False, False)
    assert bn_keras.build_mlp("after").get_layer("batch_norm").momentum == 0.99


@pytest.mark.parametrize("place", [None, "after"])
def test_cnn_layers(place):
    norm = ["BatchNormalization"] if place else []
    model = bn_keras.build_cnn(place)
    assert layers(model) == ["Conv2D", "Conv2D", *norm, "MaxPooling2D", "Flatten", "Dense"]


@pytest.mark.parametrize("place", [None, "after"])
def test_lstm_layers(place):
    norm = ["BatchNormalization"] if place else []
    assert layers(bn_keras.build_lstm(place)) == ["LSTM", *norm, "Dense"]


@pytest.mark.parametrize("build", [bn_keras.build_mlp, bn_keras.build_cnn, bn_keras.build_lstm])
def test_unknown_place_is_refused(build):
    with pytest.raises(ValueError, match=r"batch_norm must be None.*'below'"):
        build("below")


def test_compile_is_the_tutorials():
    model = bn_keras.compile_model(bn_keras.build_mlp())
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01, rel=1e-7)
    assert model.optimizer.momentum == 0.9
    assert model.loss == "binary_crossentropy"
