"""Pairs with dropout and noise, as people write them: right ports pass, wrong ones are named."""

from dataclasses import replace

import keras
import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import compare
from bn_torch import BiasedBatchNorm
from compare.porting import golden
from compare.porting.inspect import inspect_pair
from compare.porting.options import Options

K = keras.layers
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(16, 4))
IMAGES = RNG.normal(size=(8, 4, 4, 3))
SERIES = RNG.normal(size=(8, 5, 3))


def compiled(*parts, shape=None):
    model = parts[0] if shape is None else keras.Sequential([keras.Input(shape), *parts])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def mlp(*between):
    middle = between or (K.Dropout(0.3, name="drop"),)
    hidden = K.Dense(12, activation="relu", name="hidden")
    second = K.Dense(12, activation="relu", name="second")
    return compiled(hidden, *middle, second, K.Dense(1, name="head"), shape=(4,))


class MLP(nn.Module):
    """Hands what is between the first two layers to a function."""

    def __init__(self, between=None, *, later=None, inputs=None):
        super().__init__()
        self.hidden, self.second, self.head = nn.Linear(4, 12), nn.Linear(12, 12), nn.Linear(12, 1)
        self.between, self.later = between or nn.Identity(), later or nn.Identity()
        self.inputs = inputs or nn.Identity()

    def forward(self, x):
        x = F.relu(self.hidden(self.inputs(x)))
        return self.head(self.later(F.relu(self.second(self.between(x)))))


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x, self.training)


def noise(x, training):
    return x + 0.1 * torch.randn_like(x) if training else x


def cnn():
    return compiled(
        K.Conv2D(4, 3, padding="same", activation="relu", name="conv"),
        K.SpatialDropout2D(0.25),
        K.Flatten(),
        K.Dropout(0.5),
        K.Dense(1, name="head"),
        shape=(4, 4, 3),
    )


class CNN(nn.Module):
    def __init__(self, kind=nn.Dropout2d):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(64, 1)
        self.first, self.last = kind(0.25), nn.Dropout(0.5)

    def forward(self, x):
        return self.head(self.last(self.first(F.relu(self.conv(x))).flatten(1)))


def batch_norm():
    return compiled(
        K.Dense(8, name="hidden"),
        K.BatchNormalization(name="norm"),
        K.ReLU(),
        K.Dropout(0.3),
        K.Dense(1, name="head"),
        shape=(4,),
    )


def batch_norm_port():
    norm = BiasedBatchNorm(8, eps=1e-3, momentum=1.0 - 0.99)
    return nn.Sequential(nn.Linear(4, 8), norm, nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))


def lstm():
    return compiled(K.LSTM(6, name="lstm"), K.Dropout(0.4), K.Dense(1, name="head"), shape=(5, 3))


class LSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 6, batch_first=True), nn.Linear(6, 1)
        self.drop = nn.Dropout(0.4)
        self.lstm.bias_hh_l0.requires_grad_(False)

    def forward(self, x):
        return self.head(self.drop(self.lstm(x)[0][:, -1]))


def attention():
    x = keras.Input((5, 4))
    attended = K.MultiHeadAttention(2, 2, dropout=0.25, name="attention")(x, x)
    return compiled(keras.Model(x, K.Dense(1, name="head")(K.Flatten()(attended))))


class Attention(nn.Module):
    def __init__(self, rate=0.25):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=rate, batch_first=True)
        self.head = nn.Linear(20, 1)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].flatten(1))


class DropPath(K.Layer):
    def __init__(self, keeps_small):
        super().__init__()
        self.keeps_small = keeps_small

    def call(self, x, training=False):
        if not training:
            return x
        u = keras.random.uniform((keras.ops.shape(x)[0], 1, 1, 1), dtype=x.dtype)
        kept = keras.ops.cast(u < 0.75, x.dtype) if self.keeps_small else keras.ops.floor(0.75 + u)
        return x * kept / 0.75


def paths(keeps_small):
    return lambda: compiled(
        K.Conv2D(3, 3, padding="same", name="conv"),
        DropPath(keeps_small),
        K.Flatten(),
        K.Dense(1, name="head"),
        shape=(4, 4, 3),
    )


def path(x, training):
    return x * x.new_empty(len(x), 1, 1, 1).bernoulli_(0.75) / 0.75 if training else x


def paths_port():
    conv = nn.Conv2d(3, 3, 3, padding=1)
    return nn.Sequential(conv, Function(path), nn.Flatten(), nn.Linear(48, 1))


class Lit(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = MLP(nn.Dropout(0.3))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.mse_loss(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def grouped():
    """TensorFlow trains it through XLA alone, so that a step is compiled once."""
    return compiled(
        K.Conv2D(6, 3, padding="same", groups=3, name="conv"),
        K.Dropout(0.25),
        K.Flatten(),
        K.Dense(1, name="head"),
        shape=(4, 4, 3),
    )


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1, groups=3)
        self.drop, self.head = nn.Dropout(0.25), nn.Linear(96, 1)

    def forward(self, x):
        return self.head(self.drop(self.conv(x)).flatten(1))


def adam():
    model = mlp()
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    return model


RIGHT = {
    "MLP": (mlp, lambda: MLP(nn.Dropout(0.3)), POINTS),
    "F.dropout": (mlp, lambda: MLP(Function(lambda x, t: F.dropout(x, 0.3, t))), POINTS),
    "Lightning": (mlp, Lit, POINTS),
    "noise": (lambda: mlp(K.GaussianNoise(0.1)), lambda: MLP(Function(noise)), POINTS),
    "batch norm": (batch_norm, batch_norm_port, POINTS),
    "CNN": (cnn, CNN, IMAGES),
    "compiled by XLA": (grouped, Grouped, IMAGES),
    "LSTM": (lstm, LSTM, SERIES),
    "paths, small kept": (paths(True), paths_port, IMAGES),
    "paths, large kept": (paths(False), paths_port, IMAGES),
}


def check(keras_model, torch_module, x, **options):
    y = np.sin(np.arange(len(x)))[:, np.newaxis]
    return compare.check_parity(
        keras_model,
        torch_module,
        x,
        y,
        weights_from="keras",
        **({} if torch_module is Lit else PLAIN),
        **options,
    )


PLAIN = {"torch_loss": F.mse_loss, "torch_optimizer": lambda p: torch.optim.SGD(p, 0.1)}


@pytest.mark.sampled(8)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", RIGHT)
def test_right_ports_pass(name, dtype):
    keras_model, torch_module, x = RIGHT[name]
    report = check(keras_model, torch_module, x, dtype=dtype, steps=3)
    report.raise_if_diverged()
    assert report.findings == ()
    assert [c.path for c in report.checks if c.path.startswith("draws/")]


def test_adam_and_dropout_pass_as_people_write_them():
    compare.check_parity(
        adam,
        lambda: MLP(nn.Dropout(0.3)),
        POINTS,
        np.sin(np.arange(len(POINTS)))[:, np.newaxis],
        torch_loss=F.mse_loss,
        torch_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3, eps=1e-7),
        weights_from="keras",
    ).raise_if_diverged()


def test_recordings_have_what_was_drawn(tmp_path):
    y = np.sin(np.arange(len(IMAGES)))[:, np.newaxis]
    options = Options(weights_from="keras", **PLAIN)
    keras_model = cnn()
    models = keras_model, CNN().double() if keras_model.dtype == "float64" else CNN()
    golden.record(tmp_path / "golden", models, (IMAGES, y), options).raise_if_diverged()
    for alive in ("torch", "keras"):
        golden.replay(tmp_path / "golden", alive, models, (IMAGES, y), options).raise_if_diverged()
    models[1].first.p = 0.5
    report = golden.replay(tmp_path / "golden", "torch", models, (IMAGES, y), options)
    assert report.first_divergence.explained_by == ("dropout-rate",)
    other = replace(options, randomness="off")
    with pytest.raises(compare.GoldenError, match=r"randomness differs .*'shared' .*'off'"):
        golden.replay(tmp_path / "golden", "torch", models, (IMAGES, y), other)


def test_dropout_on_the_weights_of_an_attention():
    # In float64 Keras' attention scales by a factor that it rounded to float32.
    x = RNG.normal(size=(8, 5, 4))
    check(attention, Attention, x, dtype="float32").raise_if_diverged()
    wrong = check(attention, lambda: Attention(0.5), x, dtype="float32")
    assert wrong.first_divergence.layer == "attention"
    assert wrong.first_divergence.explained_by == ("dropout-rate",)


WRONG = {
    "another rate": (mlp, lambda: MLP(nn.Dropout(0.5)), POINTS, "dropout-rate"),
    "none": (mlp, MLP, POINTS, "dropout-missing"),
    "one more": (
        lambda: mlp(K.ReLU()),
        lambda: MLP(nn.Dropout(0.3)),
        POINTS,
        "dropout-missing",
    ),
    "a function more": (
        lambda: mlp(K.ReLU()),
        lambda: MLP(Function(lambda x, t: F.dropout(x, 0.3, t))),
        POINTS,
        "dropout-missing",
    ),
    "in evaluation": (
        mlp,
        lambda: MLP(Function(lambda x, t: F.dropout(x, 0.3))),
        POINTS,
        "dropout-in-eval",
    ),
    "alpha": (mlp, lambda: MLP(nn.AlphaDropout(0.3)), POINTS, "dropout-kind"),
    "another place": (mlp, lambda: MLP(later=nn.Dropout(0.3)), POINTS, "dropout-place"),
    "on the inputs": (mlp, lambda: MLP(inputs=nn.Dropout(0.3)), POINTS, "dropout-place"),
    "values for channels": (cnn, lambda: CNN(nn.Dropout), IMAGES, "dropout-kind"),
}
PLACES = {
    "another place": "between hidden and second",
    "on the inputs": "between the input and hidden",
    "values for channels": "between conv and head",
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_ports_are_named_where_they_differ(name):
    keras_model, torch_module, x, convention = WRONG[name]
    report = check(keras_model, torch_module, x)
    first = report.first_divergence
    assert first.layer == PLACES.get(name, "between hidden and second")
    assert first.rung == (9 if name == "in evaluation" else 4)
    assert first.explained_by == (convention,)


def test_a_remedy_says_where_dropout_behind_the_last_layer_belongs():
    report = compare.check_parity(
        lambda: keras.Sequential([keras.Input((4,)), K.Dense(4, name="a"), K.Dropout(0.3)]),
        lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(4, 4)),
        POINTS,
        weights_from="keras",
    )
    assert "`nn.Dropout(0.3)` at the output, and nowhere else" in str(report)


def test_a_rate_that_happens_to_drop_the_same_is_seen():
    """Of sixteen values 0.3 and 0.301 drop the same ones."""
    for module, passed in ((nn.Dropout(0.3), True), (nn.Dropout(0.301), False)):
        report = compare.check_parity(
            lambda: keras.Sequential([keras.Input((2,)), K.Dense(2, name="a"), K.Dropout(0.3)]),
            lambda module=module: nn.Sequential(nn.Linear(2, 2), module),
            RNG.normal(size=(8, 2)),
            weights_from="keras",
        )
        assert report.passed is passed


def test_off_compares_without_dropout():
    for module in (nn.Dropout(0.5), Function(lambda x, t: F.dropout(x, 0.5, t)), nn.Identity()):
        report = check(mlp, lambda module=module: MLP(module), POINTS, randomness="off")
        report.raise_if_diverged()
        if isinstance(module, nn.Dropout):
            assert module.p == 0.5


def test_refuse_refuses():
    for keras_model, module in ((mlp, MLP), (lambda: mlp(K.ReLU()), lambda: MLP(nn.Dropout(0.3)))):
        with pytest.raises(compare.InputError, match="draws random numbers while it trains"):
            check(keras_model, module, POINTS, randomness="refuse")
    with pytest.raises(compare.InputError, match="randomness"):
        check(mlp, MLP, POINTS, randomness="seeded")


def test_what_cannot_be_shared_is_refused():
    class Truncated(K.Layer):
        def call(self, x):
            return x + keras.random.truncated_normal(keras.ops.shape(x), dtype=x.dtype)

    with pytest.raises(compare.InputError, match=r"Keras side .* cannot be shared .*truncated"):
        check(lambda: mlp(Truncated(name="cut")), MLP, POINTS)
    with pytest.raises(compare.InputError, match=r"Torch side .* cannot be shared .*rrelu"):
        check(mlp, lambda: MLP(nn.RReLU()), POINTS)


def test_recurrent_dropout_is_off_and_told():
    def model():
        recurrent = K.LSTM(6, recurrent_dropout=0.5, name="lstm")
        return compiled(recurrent, K.Dropout(0.4), K.Dense(1, name="head"), shape=(5, 3))

    report = check(model, LSTM, SERIES)
    report.raise_if_diverged()
    (told,) = report.not_compared
    assert told.startswith("Keras' recurrent dropout (lstm), which was off")


class Masked(nn.Module):
    """A recurrent layer whose every feature is dropped in all steps or in none."""

    def __init__(self, rnn, rate):
        super().__init__()
        self.rnn, self.head, self.drop = rnn, nn.Linear(6, 1), nn.Dropout1d(rate)
        for name, bias in rnn.named_parameters():
            if isinstance(rnn, nn.LSTM) and name.startswith("bias_hh"):
                nn.init.zeros_(bias).requires_grad_(False)

    def forward(self, x):
        return self.head(self.rnn(self.drop(x.mT).mT)[0][:, -1])


@pytest.mark.parametrize("recurrent_dropout", [0.0, 0.5])
@pytest.mark.parametrize(("keras_layer", "torch_layer"), [(K.LSTM, nn.LSTM), (K.GRU, nn.GRU)])
def test_dropout_of_a_recurrent_layer_is_that_of_what_it_receives(
    keras_layer, torch_layer, recurrent_dropout
):
    def model():
        rnn = keras_layer(6, dropout=0.3, recurrent_dropout=recurrent_dropout, name="rnn")
        return compiled(rnn, K.Dense(1, name="head"), shape=(5, 3))

    def port(rate):
        return lambda: Masked(torch_layer(3, 6, batch_first=True), rate)

    right = check(model, port(0.3), SERIES)
    right.raise_if_diverged()
    assert [told.partition(" (")[0] for told in right.not_compared] == [
        "Keras' recurrent dropout"
    ] * bool(recurrent_dropout)
    first = check(model, port(0.5), SERIES).first_divergence
    assert (first.layer, first.explained_by) == ("between the input and rnn", ("dropout-rate",))
    first = check(model, port(0.0), SERIES).first_divergence
    assert (first.layer, first.explained_by) == ("rnn", ("dropout-missing",))


def test_what_cannot_be_shared_does_not_stop_inspection():
    def build():
        flip = K.RandomFlip(name="flip")
        return compiled(flip, K.Flatten(), K.Dense(1, name="a"), shape=(4, 4, 3))

    def port():
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 1))

    with pytest.raises(compare.InputError, match=r"Keras side .* flip \(RandomFlip\)"):
        check(build, port, IMAGES)
    assert "flip" in "".join(inspect_pair(build, port, IMAGES).not_compared)


def test_models_and_generators_are_left_as_found():
    model, module = mlp(), MLP(nn.Dropout(0.3))
    drop = model.get_layer("drop")
    state = keras.ops.convert_to_numpy(drop.seed_generator.state)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    dtype = model.dtype
    check(model, module.double() if dtype == "float64" else module, POINTS)
    np.testing.assert_array_equal(torch.rand(3), expected)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(drop.seed_generator.state), state)
    assert "call" not in vars(drop)


def test_inspection_tells_the_rates_without_training():
    findings = inspect_pair(mlp, lambda: MLP(nn.Dropout(0.5)), POINTS).findings
    assert [(f.layer, f.keras, f.torch, f.convention) for f in findings] == [
        ("between hidden and second", 0.3, 0.5, "dropout-rate")
    ]
