import keras
import numpy as np
import pytest

from compare.backends.keras import adapter
from compare.backends.keras.weights import named_tensors, read_weights, write_weights

K = keras.layers


def built(layer, shape):
    entered = keras.Input(shape)
    return keras.Model(entered, layer(entered))


def attention(entered):
    return K.MultiHeadAttention(2, 3, value_dim=5, name="l")(entered, entered)


RNN = {"kernel": (3, 4), "recurrent_kernel": (4, 4), "bias": (4,)}
GRU = {"kernel": (3, 12), "recurrent_kernel": (4, 12), "bias": (2, 12)}
LSTM = {"kernel": (3, 16), "recurrent_kernel": (4, 16), "bias": (16,)}
BOTH = {f"{side}/{n}": s for side in ("forward", "backward") for n, s in GRU.items()}
NORM = dict.fromkeys(("gamma", "beta"), (4,))
STATISTICS = dict.fromkeys(("moving_mean", "moving_variance"), (4,))
HEADS = {"kernel": (4, 2, 3), "bias": (2, 3)}
ATTENTION = {
    **{f"query/{n}": s for n, s in HEADS.items()},
    **{f"key/{n}": s for n, s in HEADS.items()},
    "value/kernel": (4, 2, 5),
    "value/bias": (2, 5),
    "attention_output/kernel": (2, 5, 4),
    "attention_output/bias": (4,),
}
CASES = [
    (lambda: K.Dense(2, name="l"), (3,), "dense", {"kernel": (3, 2), "bias": (2,)}),
    (lambda: K.Conv1D(4, 3, name="l"), (9, 2), "conv", {"kernel": (3, 2, 4), "bias": (4,)}),
    (
        lambda: K.Conv3D(2, 2, use_bias=False, name="l"),
        (4, 4, 4, 1),
        "conv",
        {"kernel": (2, 2, 2, 1, 2)},
    ),
    (
        lambda: K.Conv2D(6, (3, 2), groups=2, name="l"),
        (5, 5, 4),
        "conv",
        {"kernel": (3, 2, 2, 6), "bias": (6,)},
    ),
    (
        lambda: K.Conv2D(8, 3, groups=4, name="l"),
        (5, 5, 4),
        "depthwise_conv",
        {"kernel": (3, 3, 4, 2), "bias": (8,)},
    ),
    (
        lambda: K.DepthwiseConv2D(3, depth_multiplier=2, name="l"),
        (5, 5, 4),
        "depthwise_conv",
        {"kernel": (3, 3, 4, 2), "bias": (8,)},
    ),
    (lambda: K.DepthwiseConv1D(3, name="l"), (5, 1), "conv", {"kernel": (3, 1, 1), "bias": (1,)}),
    (
        lambda: K.Conv2DTranspose(2, 3, name="l"),
        (5, 5, 4),
        "conv_transpose",
        {"kernel": (3, 3, 2, 4), "bias": (2,)},
    ),
    (lambda: K.BatchNormalization(name="l"), (4,), "batch_norm", {**NORM, **STATISTICS}),
    (
        lambda: K.BatchNormalization(name="l", center=False, scale=False),
        (4,),
        "batch_norm",
        STATISTICS,
    ),
    (lambda: K.LayerNormalization(name="l"), (3, 4), "layer_norm", NORM),
    (
        lambda: K.LayerNormalization(name="l", axis=2, center=False),
        (3, 4),
        "layer_norm",
        {"gamma": (4,)},
    ),
    (lambda: K.GroupNormalization(2, name="l"), (3, 4), "group_norm", NORM),
    (lambda: K.Embedding(7, 4, name="l"), (3,), "embedding", {"embeddings": (7, 4)}),
    (lambda: K.SimpleRNN(4, name="l"), (5, 3), "simple_rnn", RNN),
    (lambda: K.LSTM(4, name="l"), (5, 3), "lstm", LSTM),
    (lambda: K.RNN(K.LSTMCell(4), name="l"), (5, 3), "lstm", LSTM),
    (lambda: K.GRU(4, name="l"), (5, 3), "gru", GRU),
    (lambda: K.Bidirectional(K.GRU(4), name="l"), (5, 3), "bidirectional_gru", BOTH),
    (lambda: attention, (5, 4), "attention", ATTENTION),
]


@pytest.mark.parametrize(("layer", "shape", "kind", "tensors"), CASES)
def test_every_rule_names_its_tensors_and_writes_what_it_reads(layer, shape, kind, tensors):
    model = built(layer(), shape)
    [found] = adapter.describe(model, adapter.sample_input(model, 2, 0))
    assert (found["name"], found["kind"]) == ("l", kind)
    assert found["tensors"] == {name: list(s) for name, s in tensors.items()}
    assert list(found["tensors"]) == list(tensors)
    untrained = sum(4 for name in tensors if name.startswith("moving"))
    assert found["trained"] == sum(int(np.prod(s)) for s in tensors.values()) - untrained
    rng = np.random.default_rng(0)
    weights = {f"l/{name}": rng.normal(size=s) for name, s in tensors.items()}
    write_weights(model, weights)
    for name, array in read_weights(model).items():
        assert np.array_equal(array, weights[name])


def test_a_grouped_convolution_with_a_group_per_channel_is_a_depthwise_one():
    grouped = built(K.Conv2D(8, 3, groups=4, name="l"), (5, 5, 4))
    depthwise = built(K.DepthwiseConv2D(3, depth_multiplier=2, name="l"), (5, 5, 4))
    write_weights(depthwise, read_weights(grouped))
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 4))
    assert np.allclose(grouped(x), depthwise(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("channels", "kind"), [(1, "conv"), (2, "depthwise_conv")])
def test_a_separable_convolution_is_two(channels, kind):
    model = built(K.SeparableConv1D(5, 3, depth_multiplier=2, name="s"), (7, channels))
    first, second = adapter.describe(model, adapter.sample_input(model, 1, 0))
    assert (first["name"], first["kind"]) == ("s/depthwise", kind)
    assert first["tensors"] == {"kernel": [3, channels, 2]}
    assert (second["name"], second["kind"]) == ("s/pointwise", "conv")
    assert second["tensors"] == {"kernel": [1, 2 * channels, 5], "bias": [5]}


class Block(keras.Model):
    def __init__(self, shared, **options):
        super().__init__(**options)
        self.late, self.early = K.Dense(3, name="late"), K.Dense(3, name="early")
        self.never, self.shared = K.Dense(3, name="never"), shared
        self.never.build((None, 3))
        self.inner = keras.Sequential([K.Dense(3, name="only")], name="inner")

    def call(self, x):
        return self.shared(self.late(self.inner(self.early(x))))


def test_layers_come_in_the_order_in_which_they_run_at_any_depth():
    shared = K.Dense(3, name="shared")
    entered = keras.Input((3,))
    model = keras.Model(entered, Block(shared, name="block")(shared(entered)))
    before = read_weights(model)
    names = [layer["name"] for layer in adapter.describe(model, np.ones((1, 3)))]
    block = [f"block/{name}" for name in ("early", "inner/only", "late", "never")]
    assert names == ["shared", *block]
    assert all(np.array_equal(a, before[k]) for k, a in read_weights(model).items())


class Scaled(K.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1], 2), name="factor")
        self.inner = K.Dense(2)
        self.inner.build((None, 2))

    def call(self, x):
        return self.inner(x @ self.factor)


WRONG = {
    "absent": "names 'absent', which it does not have",
    "inner": "names 'inner', which is no variable",
    ("factor", (0, 2)): r"transposes 'factor', \(3, 2\), by \(0, 2\)",
}


@pytest.fixture
def rule():
    yield adapter.add_rule
    adapter.forget_rule(Scaled)


def test_a_rule_of_ones_own_makes_a_layer_known_as_a_whole(rule):
    model = built(Scaled(name="l"), (3,))
    message = r"no rule for the weights of Scaled \(l\): register one with @compare\.weight_rule"
    with pytest.raises(TypeError, match=message):
        read_weights(model)
    rule(Scaled, {"weight": ("factor", (1, 0))}, kind="Scaled")
    with pytest.raises(TypeError, match=r"no rule for dense\w*/kernel, dense\w*/bias of Scaled"):
        read_weights(model)
    names = {"weight": ("factor", (1, 0)), "in": "inner.kernel", "shift": "inner.bias"}
    rule(Scaled, names, kind="scaled")
    [layer] = adapter.describe(model, np.ones((1, 3)))
    assert (layer["name"], layer["kind"], layer["trained"]) == ("l", "scaled", 12)
    assert layer["tensors"] == {"weight": [2, 3], "in": [2, 2], "shift": [2]}
    weights = {
        name: np.arange(float(np.prod(t.shape))).reshape(t.shape)
        for name, t in named_tensors(model).items()
    }
    write_weights(model, weights)
    assert np.array_equal(model.layers[1].factor.numpy(), weights["l/weight"].T)
    assert np.array_equal(read_weights(model)["l/weight"], weights["l/weight"])
    rule(Scaled)
    assert len(read_weights(model)) == 3
    for wrong, message in WRONG.items():
        rule(Scaled, {"weight": wrong})
        with pytest.raises(TypeError, match=rf"l \(Scaled\): its rule {message}"):
            read_weights(model)
    with pytest.raises(TypeError, match=r"expected a subclass of keras\.Layer, received 3"):
        rule(3)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (lambda: K.PReLU(name="l"), (3,), r"no rule for the weights of PReLU \(l\)"),
        (lambda: K.GRU(2, reset_after=False, name="l"), (3, 2), r"l \(GRU\): reset_after=False"),
        (
            lambda: K.LayerNormalization(axis=(1, 2), name="l"),
            (3, 2),
            "only normalization over the last",
        ),
        (lambda: K.BatchNormalization(renorm=True, name="l"), (3,), "no rule for moving_stddev"),
        (lambda: K.TimeDistributed(K.LSTM(2), name="l"), (2, 3, 4), "TimeDistributed around LSTM"),
        (
            lambda: K.RNN([K.LSTMCell(2), K.LSTMCell(2)], name="l"),
            (3, 2),
            "the cell StackedRNNCells",
        ),
    ],
)
def test_what_no_rule_knows_is_named(layer, shape, message):
    with pytest.raises(TypeError, match=message):
        read_weights(built(layer(), shape))


def test_two_layers_of_one_name_are_refused():
    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = K.Dense(1, name="same"), K.Dense(1, name="same")

        def call(self, x):
            return self.a(self.b(x))

    model = Twice()
    model(np.ones((1, 1)))
    with pytest.raises(ValueError, match="two layers are called same"):
        read_weights(model)


def test_nothing_is_written_unless_everything_fits():
    model = built(K.Dense(2, name="l"), (3,))
    before = read_weights(model)
    with pytest.raises(ValueError, match=r"l/bias: expected shape \(2,\), received \(3,\)"):
        write_weights(model, {"l/kernel": np.ones((3, 2)), "l/bias": np.ones(3)})
    assert np.array_equal(read_weights(model)["l/kernel"], before["l/kernel"])
