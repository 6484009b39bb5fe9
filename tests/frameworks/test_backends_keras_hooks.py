import keras
import numpy as np
import pytest
import tensorflow as tf

import bn_keras
from compare.backends.keras import adapter
from compare.backends.keras.hooks import recording
from compare.backends.keras.weights import read_weights

RNG = np.random.default_rng(0)
K = keras.layers
X = np.random.default_rng(0).normal(size=(6, 3))


def recorded(model, x, y=None, **options):
    """What passed and what came back, as arrays by name, and the model's output."""
    passed, returned = {}, {}
    x = keras.tree.map_structure(keras.ops.convert_to_tensor, x)
    back = None if y is None else returned.__setitem__
    with tf.GradientTape() as tape, recording(model, passed.__setitem__, back) as order:
        # What the first layer receives is a constant otherwise, and has no gradient.
        tape.watch([t for t in keras.tree.flatten(x) if t.dtype.is_floating])
        output = model(x, **options)
        loss = keras.ops.sum(output * y) if y is not None else output
    if y is not None:
        returned["weights"] = tape.gradient(loss, model.trainable_variables)
    arrays = {name: np.array(value) for name, value in passed.items()}
    return arrays, returned, order, np.array(output)


def test_a_fused_activation_is_looked_behind_and_put_back():
    model = bn_keras.build_mlp("after")
    activation = model.get_layer("hidden").activation
    before = {layer.name: set(layer.__dict__) for layer in model.layers}
    passed, _, order, _ = recorded(model, np.array([[0.3, -0.7], [-1.0, 0.2]]), training=False)
    assert order == ["hidden", "batch_norm", "output"]
    kernel, bias = (w.numpy() for w in model.get_layer("hidden").weights)
    expected = passed["hidden/input"] @ kernel + bias
    assert np.allclose(passed["hidden/output"], expected, rtol=0, atol=1e-15)
    assert passed["hidden/output"].min() < 0.0 <= passed["batch_norm/input"].min()
    assert model.get_layer("hidden").activation is activation
    assert {layer.name: set(layer.__dict__) for layer in model.layers} == before


def test_a_layer_that_runs_twice_is_noted_twice():
    layer = K.Dense(2, name="shared")
    entered = keras.Input((2,))
    model = keras.Model(entered, layer(layer(entered)))
    passed, _, order, _ = recorded(model, np.ones((1, 2)))
    assert order == ["shared", "shared#2"]
    assert np.array_equal(passed["shared/output"], passed["shared#2/input"])


def test_a_model_is_put_back_after_an_error():
    model = bn_keras.build_mlp()
    try:
        with recording(model, lambda name, value: None):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert "call" not in model.get_layer("hidden").__dict__


@pytest.mark.parametrize("kind", [K.SimpleRNN, K.LSTM, K.GRU])
@pytest.mark.parametrize("options", [{}, {"return_sequences": True}, {"return_state": True}])
def test_a_recurrent_layer_gives_its_final_state(kind, options):
    entered = keras.Input((3, 2))
    output = kind(4, name="rnn", **options)(entered)
    model = keras.Model(entered, output[0] if "return_state" in options else output)
    x, y = RNG.normal(size=(5, 3, 2)), RNG.normal(size=model(np.zeros((5, 3, 2))).shape)
    passed, returned, _, whole = recorded(model, x, y)
    last = whole[:, -1] if whole.ndim == 3 else whole
    assert np.array_equal(passed["rnn/output"], last)
    assert np.array_equal(returned["rnn/output"], y[:, -1] if y.ndim == 3 else y)
    assert returned["rnn/input"].shape == x.shape


@pytest.mark.parametrize("sequences", [False, True])
def test_both_directions_give_both_final_states(sequences):
    both = K.Bidirectional(K.GRU(3, return_sequences=sequences), name="both")
    model = keras.Sequential([keras.Input((4, 2)), both])
    x = RNG.normal(size=(5, 4, 2))
    y = RNG.normal(size=(5, 4, 6) if sequences else (5, 6))
    passed, returned, _, whole = recorded(model, x, y)
    ends = lambda a: np.concatenate([a[:, -1, :3], a[:, 0, 3:]], -1) if sequences else a  # noqa: E731
    assert np.array_equal(passed["both/output"], ends(whole))
    assert np.array_equal(returned["both/output"], ends(y))


def test_channels_first_is_noted_channels_last():
    model = keras.Sequential(
        [keras.Input((2, 6, 5)), K.BatchNormalization(axis=1, name="norm"), K.Flatten()]
    )
    x, y = RNG.normal(size=(3, 2, 6, 5)), RNG.normal(size=(3, 60))
    passed, returned, _, _ = recorded(model, x, y, training=False)
    assert np.array_equal(passed["norm/input"], np.moveaxis(x, 1, -1))
    expected = np.moveaxis(y.reshape(3, 2, 6, 5), 1, -1)
    assert np.array_equal(returned["norm/output"], expected)


def test_an_inputs_gradient_is_the_part_of_that_layer():
    entered = keras.Input((3,))
    first = K.Dense(3, name="first")(entered)
    model = keras.Model(entered, K.Add()([first, K.Dense(3, name="second")(first)]))
    x, y = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
    _, returned, _, _ = recorded(model, x, y)
    kernel = model.get_layer("second").kernel.numpy()
    assert np.allclose(returned["second/input"], y @ kernel.T, rtol=0, atol=1e-14)
    assert np.allclose(returned["first/output"], y + y @ kernel.T, rtol=0, atol=1e-14)


def test_attention_tells_query_value_and_key_apart():
    query, value, key = keras.Input((3, 4)), keras.Input((5, 4)), keras.Input((5, 4))
    attend = K.MultiHeadAttention(2, 3, name="attend")
    x = [RNG.normal(size=(2, n, 4)) for n in (3, 5, 5)]
    y = RNG.normal(size=(2, 3, 4))
    passed, returned, _, output = recorded(
        keras.Model([query, value, key], attend(query, value, key)), x, y
    )
    for name, array in zip(("input", "input_value", "input_key"), x, strict=True):
        assert np.array_equal(passed[f"attend/{name}"], array)
        assert returned[f"attend/{name}"].shape == array.shape
    assert np.array_equal(passed["attend/output"], output)
    assert np.array_equal(returned["attend/output"], y)
    own = keras.Model(query, attend(query, query))
    assert sorted(recorded(own, x[0], y)[0]) == [
        f"attend/{name}" for name in ("input", "input_value", "output")
    ]


def masked():
    tokens = keras.Input((6,), dtype="int32")
    x = K.Embedding(9, 4, mask_zero=True, name="embed")(tokens)
    x = K.Add()([x, K.MultiHeadAttention(2, 2, name="attend")(x, x)])
    x = K.LayerNormalization(name="norm")(x)
    x = K.LSTM(3, return_sequences=True, name="inner")(x)
    return keras.Model(tokens, K.Dense(1)(K.GRU(3, name="outer")(x)))


TOKENS = np.array([[1, 2, 0, 0, 0, 0], [3, 4, 5, 6, 7, 8]])


class Unmasked(keras.Model):
    """Attention takes the mask off what it receives, so that the layer after it sees none."""

    def __init__(self):
        super().__init__()
        self.embed = K.Embedding(9, 4, mask_zero=True)
        self.attend, self.after = K.MultiHeadAttention(2, 2), K.GRU(3)

    def call(self, tokens):
        x = self.embed(tokens)
        attended = self.attend(x, x)
        return keras.ops.concatenate([attended[:, -1], self.after(x)], axis=-1)


def convolutional():
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            K.SeparableConv2D(4, 3, padding="same", activation="relu", name="separable"),
            K.BatchNormalization(),
            K.Conv2DTranspose(3, 3, strides=2, activation="tanh"),
            K.GlobalAveragePooling2D(),
            K.Dense(1, activation="sigmoid"),
        ]
    )


@pytest.mark.parametrize(
    ("build", "x"),
    [
        (masked, TOKENS),
        (Unmasked, TOKENS),
        (convolutional, RNG.normal(size=(3, 8, 8, 2))),
    ],
)
def test_recording_changes_no_value(build, x):
    model = build()
    y = RNG.normal(size=model(keras.ops.convert_to_tensor(x)).shape)
    _, returned, _, output = recorded(model, x, y, training=False)
    with tf.GradientTape() as tape:
        plain = model(keras.ops.convert_to_tensor(x), training=False)
        loss = keras.ops.sum(plain * y)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert np.array_equal(output, plain)
    for ours, theirs in zip(returned["weights"], gradients, strict=True):
        ours, theirs = (keras.ops.convert_to_numpy(g) for g in (ours, theirs))
        # Attention adds up what its key and its value send back before others do.
        atol = 0.0 if build is convolutional else 1e-14
        assert np.allclose(ours, theirs, rtol=0, atol=atol)


def test_a_separable_convolution_is_two_layers():
    passed, returned, order, _ = recorded(
        convolutional(), RNG.normal(size=(3, 8, 8, 2)), np.ones((3, 1))
    )
    assert order[:2] == ["separable/depthwise", "separable/pointwise"]
    found = [name for name in passed if name.startswith("separable")]
    assert found == ["separable/depthwise/input", "separable/pointwise/output"]
    assert set(found) <= set(returned)


def test_a_layer_over_time_is_one_run():
    model = keras.Sequential([keras.Input((3, 2)), K.TimeDistributed(K.Dense(4), name="each")])
    x, y = RNG.normal(size=(5, 3, 2)), RNG.normal(size=(5, 3, 4))
    passed, returned, order, output = recorded(model, x, y)
    name = f"each/{model.layers[0].layer.name}"
    assert order == [name]
    assert np.array_equal(passed[f"{name}/output"], output)
    assert np.array_equal(returned[f"{name}/output"], y)


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
