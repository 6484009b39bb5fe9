"""The bare loops compute what the fast pace does: else their seconds would mean nothing."""

import numpy as np
import pytest
from tolerances import PACES

from compare.spec import FRAMEWORKS, Settings
from compare.statistics.distances import weight_gap
from compare.study.runs import Run, begin, views_of

SETTINGS = Settings(dtype="float64", epochs=3, seeds=2)
VARIANTS = ("mlp-bn-after", "cnn-bn", "lstm-bn")


def program(adapter, variant, framework, make):
    """What trains, and a function that yields the starts of all seeds."""
    views = views_of(variant, SETTINGS)
    runs = [Run(variant, framework, seed) for seed in range(SETTINGS.seeds)]
    handle, _ = begin(runs[0], SETTINGS, adapter)

    def starts():
        for run in runs:
            _, start = begin(run, SETTINGS, adapter, reuse=handle)
            yield handle, start.orders

    data, evaluated = (views.train, views.y_train), views.evaluated(variant)
    return make(handle, data, batch_size=SETTINGS.batch_size, views=evaluated), starts


def trained(adapter, fit, starts):
    """Weights per seed, and what was told after every epoch."""
    told = []
    models = fit(starts(), on_epoch=lambda *epoch: told.append(epoch))
    return [adapter.read_weights(model) for model in models], told


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bare_loop_trains_as_the_fast_pace_does(both, variant, framework):
    adapter = both[framework]
    many, starts = program(adapter, variant, framework, adapter.compile_many)
    fast, told = trained(
        adapter, lambda s, on_epoch: adapter.fit_many(many, s, on_epoch=on_epoch), starts
    )
    fit, starts = program(adapter, variant, framework, adapter.bare_loop)
    bare, seen = trained(adapter, fit, starts)
    assert len(bare) == len(fast) == SETTINGS.seeds
    for mine, other in zip(bare, fast, strict=True):
        assert weight_gap(mine, other) <= PACES
    assert weight_gap(*bare) > 1e-3, "two seeds, one training"
    for mine, other in zip(seen, told, strict=True):
        for a, b in zip(mine[:2], other[:2], strict=True):
            assert np.abs(a - b).max() <= PACES
        assert mine[2].keys() == other[2].keys()
        assert all(np.abs(mine[2][k] - other[2][k]).max() <= PACES for k in mine[2])


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("variant", ["mlp", "mlp-bn-before", "mlp-bn-no-affine", "lstm"])
def test_another_network_is_refused(both, variant, framework):
    with pytest.raises(TypeError, match="no bare loop is written for"):
        program(both[framework], variant, framework, both[framework].bare_loop)
