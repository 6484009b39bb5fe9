import keras
import numpy as np
import pytest

from compare.backends.keras import adapter
from compare.backends.keras.structures import to_numpy
from compare.backends.keras.weights import read_weights

K, OPT = keras.layers, keras.optimizers
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 2))


class Sink(dict):
    """Keeps what it is given; a name may be given once."""

    def __call__(self, name, array):
        assert name not in self, name
        assert isinstance(array, np.ndarray)
        self[name] = array


class AliasSink(Sink):
    def alias(self, new, old):
        self(new, self[old])
        self.aliases = [*getattr(self, "aliases", []), (new, old)]


def traced(model, x=X, y=Y, steps=2, sink=None, **options):
    found = Sink() if sink is None else sink
    layers = adapter.trace(model, [(x, y)] * steps, found, **options)
    return found, layers


def rich():
    entered = keras.Input((3,))
    hidden = K.Dropout(0.5)(K.BatchNormalization(name="norm")(K.Dense(4, name="first")(entered)))
    output = K.Dense(2, activation="softplus", name="second")(hidden)
    model = keras.Model(entered, output)
    model.compile(OPT.Adam(0.01), "mse", metrics=["mae"])
    return model


def test_a_model_is_left_as_it_was_found():
    model = rich()
    model.fit(X, Y, epochs=1, verbose=0)
    state = lambda: [  # noqa: E731
        to_numpy(v)
        for v in [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    ]
    before, attributes = state(), {part: set(vars(part)) for part in model._flatten_layers()}
    first, layers = traced(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, state(), strict=True))
    assert {part: set(vars(part)) for part in model._flatten_layers()} == attributes
    second, _ = traced(model)
    assert all(np.array_equal(array, second[name]) for name, array in first.items())
    assert adapter.describe(model, X) == layers
    assert all(np.array_equal(a, b) for a, b in zip(before, state(), strict=True))


def test_steps_are_those_of_fit_bit_for_bit():
    model = rich()
    found, _ = traced(model, steps=3)
    model.run_eagerly = True
    model.fit(X, Y, batch_size=6, epochs=3, shuffle=False, verbose=0)
    for name, array in read_weights(model).items():
        group = "statistics" if "moving" in name else "weights"
        assert np.array_equal(found[f"step/3/{group}/{name}"], array)
    assert "gradient/norm/gamma" in found
    assert "gradient/norm/moving_mean" not in found


def test_xla_traces_the_same():
    model = rich()
    model.layers[3].rate = 0.0
    model.compile(OPT.SGD(0.01, momentum=0.9), "mse")  # Adam would divide rounding by rounding.
    (eager, layers), (compiled, others) = traced(model), traced(model, jit_compile=True)
    assert layers == others
    assert sorted(eager) == sorted(compiled)
    for name, array in eager.items():
        if array.dtype.kind == "U":
            assert array == compiled[name]
        else:
            assert np.allclose(array, compiled[name], rtol=0, atol=1e-12), name


def test_values_are_handed_over_as_soon_as_they_are_known():
    sink, seen = Sink(), []

    class Looking(K.Layer):
        def call(self, x):
            seen.append(list(sink))
            return x

    model = keras.Sequential(
        [keras.Input((3,)), K.Dense(2, name="a"), Looking(), K.Dense(2, name="b")]
    )
    model.compile("sgd", "mse")
    seen.clear()
    traced(model, steps=1, sink=sink)
    assert seen[0][-1] == "training/a/output"
    assert not any(name.startswith("training/b") for name in seen[0])
    backward = [name for name in sink if name.startswith("backward")]
    assert backward == ["backward/b/output", "backward/b/input", "backward/a/output"]


def test_what_was_just_written_is_named_and_not_written_again():
    found, _ = traced(rich(), sink=AliasSink())
    assert ("training/norm/input", "training/first/output") in found.aliases
    assert not any(new.startswith("training/second") for new, _ in found.aliases)
    plain, _ = traced(rich())
    assert sorted(found) == sorted(plain)


def two_inputs():
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    one = K.Dense(2, name="one")(left)
    outputs = {"sum": K.Add()([one, right]), "one": one}
    model = keras.Model({"left": left, "right": right}, outputs)
    model.compile("sgd", {"sum": "mse", "one": "mae"})
    return model


def test_dictionaries_go_in_and_come_out_by_key():
    x, y = {"left": X, "right": Y}, {"sum": Y, "one": Y}
    found, _ = traced(two_inputs(), x, y)
    assert np.array_equal(found["step/2/data/x/right"], Y)
    assert np.array_equal(found["step/1/data/y/one"], Y)
    assert found["prediction/sum"].shape == found["prediction/one"].shape == (6, 2)


def test_tuples_go_in_and_come_out_by_index():
    a, b = keras.Input((3,)), keras.Input((3,))
    shared = K.Dense(2, name="shared")
    model = keras.Model((a, b), (shared(a), shared(b)))
    model.compile("sgd", ["mse", "mse"])
    found, [layer] = traced(model, (X, X + 1), (Y, Y))
    assert layer["name"] == "shared"
    assert np.array_equal(found["step/1/data/x/1"], X + 1)
    assert np.array_equal(found["training/shared/input"], X)
    assert np.array_equal(found["training/shared#2/input"], X + 1)
    assert {"prediction/0", "prediction/1"} <= set(found)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            {"left": X, "wrong": Y},
            "expects the inputs 'left' and 'right', received 'left' and 'wro",
        ),
        (X, r"expects 2 inputs \('left' and 'right'\), received 1"),
        ({"left": Y, "right": Y}, "ValueError: .*incompatible"),
    ],
)
def test_samples_that_a_model_does_not_take_are_refused(x, message):
    model = two_inputs()
    for use in (adapter.describe, lambda *a: traced(*a, y=None, steps=1)):
        with pytest.raises(ValueError, match=message) as caught:
            use(model, x)
        assert "\n" not in str(caught.value)


def test_what_a_model_raises_is_told_with_its_type():
    class Raising(keras.Model):
        def call(self, x):
            return x["absent"]

    model = Raising()
    model.built = True
    with pytest.raises(ValueError, match=r"^KeyError: absent$"):
        adapter.describe(model, {"there": X})


def test_models_that_are_not_ready_are_refused():
    model = keras.Sequential([K.Dense(2)], name="raw")
    with pytest.raises(ValueError, match="raw is not compiled: call compile"):
        traced(model)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"raw has no weights yet: build it, by model\.build"):
        traced(model)


def test_without_targets_there_is_one_pass_and_nothing_is_trained():
    model = rich()
    found, _ = traced(model, y=None, steps=1)
    assert not any(name.startswith(("gradient", "backward", "step/1/loss")) for name in found)
    before = found["initial/norm/moving_mean"]
    assert not np.array_equal(found["step/1/statistics/norm/moving_mean"], before)


def test_embeddings_are_trained_through_their_sparse_gradient():
    tokens = keras.Input((4,), dtype="int32")
    pooled = K.GlobalAveragePooling1D()(K.Embedding(5, 3, name="embed", mask_zero=True)(tokens))
    model = keras.Model(tokens, K.Dense(2, name="head")(pooled))
    model.compile("adam", "mse")
    x = np.array([[1, 2, 0, 0], [3, 3, 3, 0]])
    found, _ = traced(model, x, np.ones((2, 2)))
    assert found["gradient/embed/embeddings"].shape == (5, 3)
    assert not found["gradient/embed/embeddings"][4].any()
    assert found["training/embed/input"].dtype.kind == "i"
    assert "backward/embed/input" not in found
