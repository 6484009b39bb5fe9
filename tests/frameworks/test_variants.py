"""The contract that every variant fulfils in both frameworks, found by discovery."""

from dataclasses import replace

import numpy as np
import pytest
from tolerances import FORWARD, THREE_EPOCHS

from compare.analysis.frames import largest_difference, weight_gap
from compare.data import circles_split, view
from compare.spec import FRAMEWORKS, VARIANTS, Run, Settings
from compare.study.initial import initial_weights
from compare.study.train import execute

SGD = {"learning_rate": 0.01, "momentum": 0.9}
SETTINGS = Settings(dtype="float64", epochs=3)
REPEATED = ("mlp-bn-after", "cnn-bn", "lstm-bn")


def build(adapter, name, undone=()):
    variant = VARIANTS[name]
    return adapter.build(variant.family, dict(variant.options), seed=0, sgd=SGD, undone=undone)


def points(name, n=40):
    return view(circles_split().x_train[:n], VARIANTS[name].view)


def twins(both, name):
    """Both models with the same weights, moving statistics other than their defaults."""
    handles = {f: build(adapter, name) for f, adapter in both.items()}
    shapes = {k: a.shape for k, a in both["keras"].read_weights(handles["keras"]).items()}
    rng = np.random.default_rng(7)
    weights = initial_weights(shapes, seed=3)
    for key, value in weights.items():
        if not key.endswith("kernel"):
            weights[key] = value + rng.uniform(0.1, 0.5, value.shape)
    for f, adapter in both.items():
        adapter.write_weights(handles[f], weights)
    return handles, weights


@pytest.fixture(scope="module", params=VARIANTS)
def name(request):
    return request.param


@pytest.fixture
def ends(trained, name):
    """Where three epochs of seed 0 end in each framework."""
    return {framework: trained(name, framework, SETTINGS, 0) for framework in FRAMEWORKS}


@pytest.mark.sampled(3)
def test_same_tensors_in_both(both, name):
    shapes = [
        {k: a.shape for k, a in adapter.read_weights(build(adapter, name)).items()}
        for adapter in both.values()
    ]
    assert shapes[0] == shapes[1]
    assert any(key.startswith("batch_norm/") for key in shapes[0]) is VARIANTS[name].has_batch_norm


@pytest.mark.sampled(3)
def test_weights_survive_a_round_trip_to_the_bit(both, name):
    handles, weights = twins(both, name)
    for f, adapter in both.items():
        back = adapter.read_weights(handles[f])
        assert all(np.array_equal(back[key], weights[key]) for key in weights)
        assert all(array.dtype == np.float64 for array in back.values())


@pytest.mark.sampled(6)
@pytest.mark.parametrize("batch_statistics", [False, True])
def test_same_probabilities_from_the_same_weights(both, name, batch_statistics):
    handles, weights = twins(both, name)
    found = {
        f: adapter.predict_proba(handles[f], points(name), batch_statistics=batch_statistics)
        for f, adapter in both.items()
    }
    assert found["keras"].shape == (40,)
    assert largest_difference([found["keras"]], [found["torch"]]) <= FORWARD
    for f, adapter in both.items():
        assert weight_gap(adapter.read_weights(handles[f]), weights) == 0.0, "a prediction trained"


@pytest.mark.sampled(3)
def test_three_epochs_end_in_the_same_place(ends):
    keras, torch = ends["keras"], ends["torch"]
    assert weight_gap(keras.arrays, torch.arrays) <= THREE_EPOCHS
    for key in ("test_probability", "grid_probability"):
        assert largest_difference([keras.arrays[key]], [torch.arrays[key]]) <= THREE_EPOCHS
    for key, curve in keras.record["history"].items():
        assert np.abs(np.subtract(curve, torch.record["history"][key])).max() <= THREE_EPOCHS, key
        if key.endswith("accuracy"):
            assert curve == torch.record["history"][key]
    for key in ("data", "initial_weights", "batch_orders"):
        assert keras.record["digests"][key] == torch.record["digests"][key]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("variant", "undo", "least"),
    [
        ("mlp-bn-after", "bn-momentum", 1e-3),
        ("mlp-bn-after", "bn-epsilon", 1e-4),
        ("mlp-bn-after", "bn-biased-variance", 1e-4),
        ("cnn", "flatten-order", 1e-2),
        ("lstm", "lstm-single-bias", 1e-4),
        ("lstm", "lstm-forget-bias", 0.1),
        ("mlp", "initializers", 0.1),
        ("mlp", "batch-order", 1e-4),
        ("mlp", "sgd-momentum-float32", 1e-10),
    ],
)
def test_a_remedy_undone_shows(both, variant, undo, least):
    settings = replace(SETTINGS, undo=(undo,))
    ends = [execute(Run(variant, f, 0), settings, adapter) for f, adapter in both.items()]
    assert weight_gap(ends[0].arrays, ends[1].arrays) > least
    assert (ends[0].replay == {}) is (undo not in ("initializers", "batch-order"))


@pytest.mark.parametrize("variant", REPEATED)
def test_a_run_repeats_to_the_bit(both, trained, variant):
    for framework, adapter in both.items():
        first = trained(variant, framework, SETTINGS, 0)
        second = execute(Run(variant, framework, 0), SETTINGS, adapter)
        assert first.record["history"] == second.record["history"]
        assert weight_gap(first.arrays, second.arrays) == 0.0
