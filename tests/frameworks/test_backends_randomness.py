"""What is drawn on Keras' side, and given to Torch's: single forward passes of both."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from compare.backends.draws import EVALUATION, Draws, rehearsed
from compare.backends.keras import randomness as keras_randomness
from compare.backends.torch import randomness as torch_randomness

K = keras.layers
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(8, 6))
IMAGES = RNG.normal(size=(6, 4, 4, 3))
SERIES = RNG.normal(size=(5, 5, 4))  # as many steps as samples


def drawn(model, x):
    """What a model returns in training mode, and what it drew."""
    draws = Draws()
    with keras_randomness.shared(model, draws):
        draws.begin(1)
        output = keras.ops.convert_to_numpy(model(x, training=True))
        draws.begin(1)
        np.testing.assert_array_equal(output, model(x, training=True))
    assert not draws.unshared
    return output, draws


def port(model, module, x):
    """Outputs of both sides, and the draws of Torch's."""
    output, draws = drawn(model, x)
    samples = torch.from_numpy(np.moveaxis(x, -1, 1).copy() if x.ndim == 4 else x)
    outputs = []

    def run(shared):
        shared.begin(1)
        with torch_randomness.shared(module, shared), torch.no_grad():
            outputs.append(module.train()(samples.clone()).numpy())

    shared = rehearsed(draws, run)
    run(shared)
    assert not shared.unshared
    torch_output = outputs[-1]
    return output, np.moveaxis(torch_output, 1, -1) if output.ndim == 4 else torch_output, shared


def sequential(shape, *parts):
    return keras.Sequential([keras.Input(shape), *parts], name="model")


class Function(nn.Module):
    """A user's own module, such as a function makes it."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x, self.training)


def noise(x, training):
    return x + 0.1 * torch.randn_like(x)


def gaussian_dropout(x, training):
    return x * torch.normal(1.0, (0.2 / 0.8) ** 0.5, x.shape)


def own_spatial(x, training):
    return x * x.new_empty(*x.shape[:2], 1, 1).bernoulli_(0.7) / 0.7


def bernoulli(x, training):
    return x * torch.bernoulli(torch.full_like(x, 0.75)) / 0.75


def transposed(x, training):
    return F.dropout1d(x.transpose(1, 2), 0.5, training).transpose(1, 2)


def recomputed(x, training):
    return checkpoint(lambda x: F.dropout(x, 0.25), x, use_reentrant=False)


PORTS = {
    "Dropout": (lambda: K.Dropout(0.25), nn.Dropout(0.25), POINTS),
    "Dropout of images": (lambda: K.Dropout(0.25), nn.Dropout(0.25, inplace=True), IMAGES),
    "F.dropout": (lambda: K.Dropout(0.25), Function(lambda x, t: F.dropout(x, 0.25, t)), IMAGES),
    "SpatialDropout2D": (lambda: K.SpatialDropout2D(0.3), nn.Dropout2d(0.3), IMAGES),
    "a mask of one's own": (lambda: K.SpatialDropout2D(0.3), Function(own_spatial), IMAGES),
    "SpatialDropout1D": (lambda: K.SpatialDropout1D(0.5), Function(transposed), SERIES),
    "AlphaDropout": (lambda: K.AlphaDropout(0.3), nn.AlphaDropout(0.3), POINTS),
    "one per channel": (
        lambda: K.AlphaDropout(0.3, noise_shape=(6, 1, 1, 3)),
        nn.FeatureAlphaDropout(0.3),
        IMAGES,
    ),
    "GaussianNoise": (lambda: K.GaussianNoise(0.1), Function(noise), IMAGES),
    "GaussianDropout": (lambda: K.GaussianDropout(0.2), Function(gaussian_dropout), POINTS),
    "torch.bernoulli": (lambda: K.Dropout(0.25), Function(bernoulli), POINTS),
    "checkpointing": (lambda: K.Dropout(0.25), Function(recomputed), POINTS),
}


@pytest.mark.parametrize(("layer", "module", "x"), PORTS.values(), ids=PORTS)
def test_a_right_port_gets_the_same_numbers(layer, module, x):
    ours, theirs, shared = port(sequential(x.shape[1:], layer()), module, x)
    assert not np.allclose(ours, x)
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-14)
    assert shared.left() == shared.missing() == []
    assert shared.passes[1].draws[0].agrees


def test_a_mask_follows_a_flattened_image():
    class Flattened(nn.Module):
        def forward(self, x):
            return F.dropout(x.flatten(1), 0.4).unflatten(1, x.shape[1:])

    model = sequential((4, 4, 3), K.Flatten(), K.Dropout(0.4), K.Reshape((4, 4, 3)))
    ours, theirs, _ = port(model, Flattened(), IMAGES)
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-14)


class DropPath(K.Layer):
    def __init__(self, keeps_small):
        super().__init__()
        self.keeps_small = keeps_small

    def call(self, x, training=False):
        shape = (keras.ops.shape(x)[0], 1, 1, 1)
        u = keras.random.uniform(shape, dtype=x.dtype)
        kept = keras.ops.cast(u < 0.7, x.dtype) if self.keeps_small else keras.ops.floor(0.7 + u)
        return x * kept / 0.7


PATHS = {
    "u < keep": lambda x, t: x * (torch.rand(len(x), 1, 1, 1) < 0.7) / 0.7,
    "floor(keep + u)": lambda x, t: x * (0.7 + torch.rand(len(x), 1, 1, 1)).floor_() / 0.7,
    "bernoulli_": lambda x, t: x * x.new_empty(len(x), 1, 1, 1).bernoulli_(0.7) / 0.7,
    "uniform_": lambda x, t: x * (torch.empty(len(x), 1, 1, 1).uniform_() >= 0.3) / 0.7,
}


@pytest.mark.parametrize("keeps_small", [False, True])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_paths_are_dropped_however_the_comparison_is_written(path, keeps_small):
    model = sequential((4, 4, 3), DropPath(keeps_small), DropPath(keeps_small))
    ours, theirs, _ = port(model, nn.Sequential(Function(path), Function(path)), IMAGES)
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-14)
    assert 0 < (ours == 0).mean() < 1


@pytest.mark.parametrize("batch_first", [True, False])
def test_dropout_between_the_layers_of_an_lstm(batch_first):
    layers = [K.LSTM(4, return_sequences=True) for _ in range(2)]
    model = sequential((5, 4), layers[0], K.Dropout(0.3), layers[1])
    lstm = nn.LSTM(4, 4, 2, dropout=0.3, batch_first=batch_first).double()
    for number, layer in enumerate(layers):
        kernel, recurrent, bias = (torch.from_numpy(w) for w in layer.get_weights())
        values = {"weight_ih": kernel.T, "weight_hh": recurrent.T, "bias_ih": bias}
        for name, value in values.items():
            getattr(lstm, f"{name}_l{number}").data.copy_(value)
        getattr(lstm, f"bias_hh_l{number}").data.zero_()
    side = Function(
        lambda x, t: lstm(x)[0] if batch_first else lstm(x.transpose(0, 1))[0].transpose(0, 1)
    )
    ours, theirs, shared = port(model, side, SERIES)
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-14)
    assert shared.passes[1].draws[0].agrees


@pytest.mark.parametrize("need_weights", [True, False])
def test_dropout_on_the_weights_of_an_attention(need_weights):
    x = keras.Input((5, 4))
    layer = K.MultiHeadAttention(2, 2, dropout=0.3)
    model = keras.Model(x, layer(x, x))
    attention = nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True).double()
    weights = [torch.from_numpy(w) for w in layer.get_weights()]
    projections = torch.cat([weights[at].reshape(4, 4).T for at in (0, 2, 4)])
    attention.in_proj_weight.data.copy_(projections)
    attention.out_proj.weight.data.copy_(weights[6].reshape(4, 4).T)
    side = Function(lambda x, t: attention.train()(x, x, x, need_weights=need_weights)[0])
    ours, theirs, shared = port(model, side, SERIES)
    # Keras scales by a factor that it rounded to float32.
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-7)
    assert shared.left() == shared.missing() == []
    assert shared.passes[1].draws[0].agrees


WRONG = {
    "another rate": (lambda: K.Dropout(0.25), nn.Dropout(0.5), POINTS),
    "Dropout for SpatialDropout": (lambda: K.SpatialDropout2D(0.5), nn.Dropout(0.5), IMAGES),
    "SpatialDropout for Dropout": (lambda: K.Dropout(0.5), nn.Dropout2d(0.5), IMAGES),
    "Dropout for AlphaDropout": (lambda: K.AlphaDropout(0.3), nn.Dropout(0.3), POINTS),
    "Dropout for noise": (lambda: K.GaussianDropout(0.3), nn.Dropout(0.3), POINTS),
    "none": (lambda: K.Dropout(0.25), nn.Identity(), POINTS),
    "in evaluation mode": (
        lambda: K.Dropout(0.25),
        Function(lambda x, t: F.dropout(x, 0.25, False)),
        POINTS,
    ),
}


@pytest.mark.parametrize(("layer", "module", "x"), WRONG.values(), ids=WRONG)
def test_a_wrong_port_computes_something_else(layer, module, x):
    ours, theirs, _ = port(sequential(x.shape[1:], layer()), module, x)
    assert np.abs(ours - theirs).max() > 0.1


def test_where_numbers_are_drawn_is_told():
    inner = sequential((6,), K.Dropout(0.25, name="drop"))
    model = sequential((6,), inner)
    _, _, shared = port(model, nn.Sequential(nn.ReLU(), nn.Sequential(nn.Dropout(0.25))), POINTS)
    ours, theirs = shared.first[1].draws[0], shared.passes[1].draws[0]
    assert (ours.path, ours.part, ours.rate) == ("model/drop", "Dropout", 0.25)
    assert (theirs.path, theirs.part, theirs.rate) == ("1/0", "Dropout", 0.25)


def test_generators_are_not_touched_by_keras():
    layer = K.Dropout(0.25)
    model = sequential((6,), layer)
    state = keras.ops.convert_to_numpy(layer.seed_generator.state)
    dropout = keras.src.backend.random.dropout
    drawn(model, POINTS)
    np.testing.assert_array_equal(state, keras.ops.convert_to_numpy(layer.seed_generator.state))
    assert keras.src.backend.random.dropout is dropout
    assert "call" not in vars(layer)
    assert not np.array_equal(*(model(POINTS, training=True) for _ in range(2)))


def test_what_is_compiled_once_draws_the_same_in_every_step():
    model = sequential((6,), K.Dropout(0.25), K.GaussianNoise(0.5))
    compiled = tf.function(lambda x, training: model(x, training=training))
    draws = Draws()
    passes = []
    with keras_randomness.shared(model, draws):
        for step, run in ((1, model), (2, model), (2, compiled), (3, compiled)):
            draws.begin(step)
            output = run(tf.constant(POINTS), training=True)
            passes.append(keras.ops.convert_to_numpy(output))
    assert draws.repeated
    for output in passes[2:]:
        np.testing.assert_allclose(output, passes[0], rtol=0, atol=1e-14)
    assert np.abs(passes[1] - passes[0]).max() > 0.1


def test_gradients_pass_what_was_not_dropped_and_checkpoints_draw_the_same_again():
    draws = Draws()
    module = Function(recomputed)
    x = torch.from_numpy(POINTS).requires_grad_()
    with torch_randomness.shared(module, draws):
        draws.begin(1)
        output = module(x)
        output.sum().backward()
    np.testing.assert_allclose(x.grad, (output != 0).double() / 0.75)
    assert len(draws.passes[1].draws) == 1


UNSHARED = {
    "RReLU": nn.RReLU(),
    "gumbel softmax": Function(lambda x, t: F.gumbel_softmax(x)),
    "permutation": Function(lambda x, t: x[torch.randperm(len(x))]),
}


@pytest.mark.parametrize("module", UNSHARED.values(), ids=UNSHARED)
def test_what_is_not_shared_in_torch_is_told(module):
    draws = Draws()
    with torch_randomness.shared(module, draws):
        draws.begin(1)
        module.train()(torch.from_numpy(POINTS))
    (told,) = draws.unshared
    assert "(torch." in told


def test_what_is_not_shared_in_keras_is_told():
    class Truncated(K.Layer):
        def call(self, x):
            return x + keras.random.truncated_normal(keras.ops.shape(x), dtype=x.dtype)

    draws = Draws()
    model = sequential((6,), Truncated(name="cut"))
    with keras_randomness.shared(model, draws):
        draws.begin(1)
        model(POINTS)
    assert draws.unshared == ["cut (keras.random.truncated_normal)"]


def test_dropout_in_inference_is_seen():
    draws = Draws()
    module = Function(lambda x, t: F.dropout(x, 0.25))
    with torch_randomness.shared(module, draws):
        draws.begin(EVALUATION)
        with torch.inference_mode():
            output = module(torch.from_numpy(POINTS)).numpy()
    assert len(draws.passes[EVALUATION].draws) == 1
    np.testing.assert_allclose(output[output != 0], POINTS[output != 0] / 0.75)
