import keras
import numpy as np
import pytest

from compare.backends.keras import adapter

K, OPT = keras.layers, keras.optimizers


def settings_of(layer, shape):
    entered = keras.Input(shape)
    model = keras.Model(entered, layer()(entered))
    return [each["settings"] for each in adapter.describe(model, adapter.sample_input(model, 1, 0))]


CONV = {"strides": [1], "dilation": [1], "padding": "valid", "groups": 1}
RNN = {"activation": "tanh", "trained_biases": 1, "go_backwards": False}
CASES = [
    (lambda: K.Dense(2), (3,), {}),
    (
        lambda: K.BatchNormalization(momentum=0.9, epsilon=1e-4, trainable=False),
        (3,),
        {"epsilon": 1e-4, "decay": 0.9, "biased": True, "frozen": True},
    ),
    (lambda: K.LayerNormalization(epsilon=1e-5), (3,), {"epsilon": 1e-5}),
    (lambda: K.GroupNormalization(-1), (3, 4), {"epsilon": 1e-3, "groups": 4}),
    (lambda: K.Conv1D(2, 3, padding="causal"), (5, 2), {**CONV, "padding": "causal"}),
    (
        lambda: K.Conv2D(4, 3, strides=(2, 1), groups=2, padding="same"),
        (5, 5, 2),
        {"strides": [2, 1], "dilation": [1, 1], "padding": "same", "groups": 2},
    ),
    (
        lambda: K.DepthwiseConv2D(3, dilation_rate=2),
        (7, 7, 3),
        {"strides": [1, 1], "dilation": [2, 2], "padding": "valid", "groups": 3},
    ),
    (
        lambda: K.Conv1DTranspose(2, 3, strides=2, output_padding=1),
        (5, 2),
        {"strides": [2], "dilation": [1], "padding": "valid", "output_padding": [1]},
    ),
    (lambda: K.SimpleRNN(2, activation="relu"), (3, 2), {**RNN, "activation": "relu"}),
    (
        lambda: K.LSTM(2, go_backwards=True),
        (3, 2),
        {**RNN, "recurrent_activation": "sigmoid", "go_backwards": True},
    ),
    (
        lambda: K.Bidirectional(K.GRU(2)),
        (3, 2),
        {**RNN, "recurrent_activation": "sigmoid", "trained_biases": 2},
    ),
    (
        lambda: K.LSTM(2, use_bias=False),
        (3, 2),
        {**RNN, "recurrent_activation": "sigmoid", "trained_biases": 0},
    ),
    (lambda: K.Embedding(5, 2, mask_zero=True), (3,), {"mask_zero": True}),
    (
        lambda: lambda x: K.MultiHeadAttention(2, 3, dropout=0.1)(x, x),
        (3, 4),
        {"heads": 2, "key_dim": 3, "dropout": 0.1},
    ),
]


@pytest.mark.parametrize(("layer", "shape", "expected"), CASES)
def test_settings_are_those_of_the_layer(layer, shape, expected):
    assert settings_of(layer, shape) == [expected]


def test_a_separable_convolution_has_its_settings_in_its_depthwise_part():
    first, second = settings_of(lambda: K.SeparableConv1D(2, 3, strides=2, padding="same"), (6, 4))
    assert first == {"strides": [2], "dilation": [1], "padding": "same", "groups": 4}
    assert second == CONV


def compiled(optimizer="sgd", loss="mse"):
    model = keras.Sequential([keras.Input((3,)), K.Dense(1)])
    model.compile(optimizer, loss)
    return model


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (
            lambda: OPT.SGD(0.1, momentum=0.9, nesterov=True),
            {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
        ),
        (
            lambda: OPT.AdamW(0.01, weight_decay=0.1, clipnorm=2.0),
            {
                "kind": "adamw",
                "learning_rate": 0.01,
                "beta_1": 0.9,
                "beta_2": 0.999,
                "epsilon": 1e-7,
                "amsgrad": False,
                "weight_decay": 0.1,
                "clipnorm": 2.0,
            },
        ),
        (
            lambda: OPT.RMSprop(OPT.schedules.CosineDecay(0.1, 9), centered=True),
            {
                "kind": "rmsprop",
                "learning_rate": {"schedule": "CosineDecay"},
                "rho": 0.9,
                "momentum": 0.0,
                "epsilon": 1e-7,
                "centered": True,
            },
        ),
    ],
)
def test_an_optimizer_is_told_by_its_numbers(build, expected):
    assert adapter.optimizer_settings(compiled(build())) == {"weight_decay": 0.0, **expected}


def test_what_is_not_compiled_has_no_settings():
    model = keras.Sequential([keras.Input((3,)), K.Dense(1)])
    assert adapter.optimizer_settings(model) is None
    assert adapter.loss_settings(model) == {}


@pytest.mark.parametrize(
    ("loss", "name", "from_logits"),
    [
        ("mse", "mean_squared_error", None),
        ("binary_crossentropy", "binary_crossentropy", False),
        (keras.losses.BinaryCrossentropy, "binary_crossentropy", True),
    ],
)
def test_a_loss_is_told_by_its_name(loss, name, from_logits):
    loss = loss if isinstance(loss, str) else loss(from_logits=True)
    expected = {"name": name, "from_logits": from_logits, "reduction": "sum_over_batch_size"}
    assert adapter.loss_settings(compiled(loss=loss)) == expected


def test_everything_random_is_found_at_any_depth():
    inner = keras.Sequential([K.Dropout(0.5, name="drop"), K.Dropout(0.0)], name="inner")
    x = keras.Input((4, 2))
    y = K.LSTM(2, recurrent_dropout=0.25, return_sequences=True, name="lstm")(inner(x))
    y = K.MultiHeadAttention(1, 2, dropout=0.125, name="attend")(y, y)
    y = K.LSTM(2, name="calm", return_sequences=True)(K.GaussianNoise(0.1, name="noise")(y))
    assert adapter.random_parts(keras.Model(x, y)) == [
        "inner/drop (Dropout, rate 0.5)",
        "lstm (LSTM, recurrent_dropout 0.25)",
        "attend (MultiHeadAttention, dropout 0.125)",
        "noise (GaussianNoise, stddev 0.1)",
    ]
    image = keras.Sequential([keras.Input((4, 4, 1)), K.RandomFlip(name="flip")])
    assert adapter.random_parts(image) == ["flip (RandomFlip)"]


def test_samples_are_made_up_as_the_model_takes_them():
    tokens, image = keras.Input((None,), dtype="int32", name="t"), keras.Input((4, 4, 1), name="i")
    embedding = keras.Sequential([K.Embedding(5, 2)])
    outputs = K.Dense(1)(
        K.Concatenate()([K.Flatten()(image), K.GlobalMaxPooling1D()(embedding(tokens))])
    )
    model = keras.Model({"t": tokens, "i": image}, outputs)
    x = adapter.sample_input(model, 3, 0)
    assert {name: array.shape for name, array in x.items()} == {"t": (3, 8), "i": (3, 4, 4, 1)}
    assert x["t"].max() < 5
    assert x["t"].min() >= 0
    assert x["i"].dtype == np.float64
    again = adapter.sample_input(model, 3, 0)
    assert all(np.array_equal(array, again[name]) for name, array in x.items())
    assert adapter.describe(model, x)


def test_samples_of_a_subclassed_model_need_a_call():
    class Plain(keras.Model):
        def __init__(self):
            super().__init__(name="plain")
            self.dense = K.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Plain()
    with pytest.raises(ValueError, match="the input of plain cannot be made up: pass x="):
        adapter.sample_input(model, 2, 0)
    model(np.ones((1, 3)))
    assert adapter.sample_input(model, 2, 0).shape == (2, 3)


def test_a_dtype_holds_within_alone():
    assert keras.config.floatx() == "float64"
    policy = keras.config.dtype_policy().name
    try:
        with adapter.building("float32"):
            model = compiled()
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert adapter.dtype_of(model) == "float32"
    assert (keras.config.floatx(), keras.config.dtype_policy().name) == ("float64", policy)
    assert adapter.is_model(model)
    assert not adapter.is_model(model.layers[0])
