"""Structurally different networks: weights carried both ways, parity, and bugs found in place."""

import pickle

import keras
import numpy as np
import pairs
import pytest
from pairs.causes import ALSO, CAUSES
from pairs.weights import shaken

import compare
from compare.backends.keras.weights import read_weights
from compare.porting.models import KerasSide

# Torch says once, of `volume`, that an even kernel's `same` costs a copy.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

PAIRS = pairs.discover()
BUGS = [(name, bug) for name, pair in PAIRS.items() for bug in pair.BUGS]
MODELS = {}


@pytest.fixture(scope="module", autouse=True)
def traced_once(tmp_path_factory):
    """Keras' side of a pair is the same for its right port and all its bugs: one trace each."""
    trace, real_step, traces = KerasSide.trace, KerasSide.real_step, {}

    def remembered(side, batches, folder, starting=None):
        if all(side.model is not model for model in MODELS.values()):
            return trace(side, batches, folder, starting)
        asked = id(side.model), pickle.dumps(batches)
        if asked not in traces:
            traces[asked] = trace(side, batches, tmp_path_factory.mktemp("keras"), starting)
        return traces[asked]

    def remembered_step(side, x, y, sink):
        if all(side.model is not model for model in MODELS.values()):
            return real_step(side, x, y, sink)
        asked = id(side.model), pickle.dumps((x, y))
        if asked not in traces:
            traces[asked] = {}
            real_step(side, x, y, traces[asked].__setitem__)
        for name, array in traces[asked].items():
            sink(name, array)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KerasSide, "trace", remembered)
        patch.setattr(KerasSide, "real_step", remembered_step)
        yield


def ported(name):
    """The Keras model, which checks leave as it was, and a new right port of it."""
    pair = PAIRS[name]
    if name not in MODELS:
        keras.utils.set_random_seed(0)
        MODELS[name] = shaken(pair.build_keras())
    module = pair.build_torch().double()
    options = {"to_torch": pair.to_torch} if hasattr(pair, "to_torch") else {}
    x, _ = pair.inputs(np.random.default_rng(2))
    compare.port_weights(MODELS[name], module, pairs=getattr(pair, "PAIRS", None), x=x, **options)
    return pair, MODELS[name], module


def check(pair, model, module, **objective):
    return compare.check_parity(
        model,
        module,
        *pair.inputs(np.random.default_rng(2)),
        **{**getattr(pair, "OBJECTIVE", {}), **objective},
        pairs=getattr(pair, "PAIRS", None),
        to_torch=getattr(pair, "to_torch", None),
        steps=3,
    )


def test_there_are_enough_of_them():
    assert len(PAIRS) >= 8
    assert all(len(pair.BUGS) >= 3 for pair in PAIRS.values())


@pytest.mark.parametrize("name", PAIRS)
def test_a_port_passes_and_goes_back_unchanged(name):
    pair, model, module = ported(name)
    report = check(pair, model, module)
    assert report.passed, str(report)
    assert all(rung.max_abs is None or rung.max_abs <= 1e-10 for rung in report.rungs)
    back = pair.build_keras()
    compare.port_weights(module, back, pairs=getattr(pair, "PAIRS", None))
    found = read_weights(back)
    assert all(np.array_equal(value, found[key]) for key, value in read_weights(model).items())


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("name", "bug"), BUGS, ids=[f"{n}-{b.name}" for n, b in BUGS])
def test_a_bug_is_found_where_it_is(name, bug):
    pair, model, module = ported(name)
    if bug.build is not None:
        right, module = module, bug.build().double()
        module.load_state_dict(right.state_dict(), strict=False)
    if bug.spoil is not None:
        bug.spoil(module)
    first = check(pair, model, module, **bug.objective).first_divergence
    assert (first.rung, first.layer) == (bug.rung, bug.blame)
    expected = CAUSES.get((name, bug.name))
    others = ALSO.get((name, bug.name), ())
    assert first.explained_by == (() if expected is None else (expected, *others))
