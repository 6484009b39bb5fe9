"""The fast pace gives the numbers of the idiomatic one: what lets a reader trust it."""

from dataclasses import replace

import numpy as np
import pytest
from tolerances import PACES

from compare.analysis.frames import weight_gap
from compare.conventions import CONVENTIONS
from compare.spec import FRAMEWORKS, VARIANTS, Run, Settings
from compare.study.runs import Outcome
from compare.study.train import SEEDS_AT_ONCE, execute, execute_many

SETTINGS = Settings(dtype="float64", epochs=3, seeds=2)


def many(variant, framework, settings, adapter):
    """Outcomes of all seeds at the fast pace, and what was told on the way."""
    told = []
    execute_many(variant, framework, replace(settings, pace="fast"), adapter, told.append)
    return [t for t in told if isinstance(t, Outcome)], told


def assert_same(fast, idiomatic):
    assert weight_gap(fast.arrays, idiomatic.arrays) <= PACES
    for key in ("test_probability", "grid_probability"):
        assert np.abs(fast.arrays[key] - idiomatic.arrays[key]).max() <= PACES
    for key, curve in idiomatic.record["history"].items():
        other = fast.record["history"][key]
        assert np.abs(np.subtract(curve, other)).max() <= PACES, key
        if key.endswith("accuracy"):
            assert curve == other
    assert set(fast.replay) == set(idiomatic.replay)
    assert all(np.array_equal(fast.replay[key], idiomatic.replay[key]) for key in fast.replay)
    pace_alone = {"pace", "settings", "history", "final", "epoch_seconds", "started_at", "digests"}
    for key in set(idiomatic.record) - pace_alone:
        assert fast.record[key] == idiomatic.record[key], key
    for key in ("data", "initial_weights", "batch_orders"):
        assert fast.record["digests"][key] == idiomatic.record["digests"][key]


CASES = [
    *((variant, framework, "exact") for variant in VARIANTS for framework in FRAMEWORKS),
    *((variant, "torch", "stock") for variant in ("mlp-bn-after", "cnn-bn", "lstm-bn")),
    *(
        (variant, framework, "naive")
        for variant in ("mlp-bn-after", "cnn", "lstm")
        for framework in FRAMEWORKS
    ),
]
"""What `stock` leaves out is in Torch's batch normalization, which is 1d or 2d; what `naive`
leaves out is in what the variants of a family share."""


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("variant", "framework", "alignment"), CASES)
def test_both_paces_give_the_same_numbers(trained, variant, framework, alignment):
    settings = replace(SETTINGS, alignment=alignment)
    fast = [trained(variant, framework, replace(settings, pace="fast"), seed) for seed in (0, 1)]
    for seed, outcome in enumerate(fast):
        assert outcome.record["seed"] == seed
        assert outcome.record["epoch_seconds"] is None
    # Seed 0 is trained for other tests, too; that seed 1 is not seed 0 again is seen below.
    assert_same(fast[0], trained(variant, framework, settings, 0))
    assert weight_gap(fast[0].arrays, fast[1].arrays) > 1e-3, "two seeds, one training"


@pytest.mark.sampled(2)
@pytest.mark.parametrize("variant", ["mlp-bn-after", "cnn-bn", "lstm-bn"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_seed_is_trained_as_alone(trained, variant, framework):
    fast = trained(variant, framework, replace(SETTINGS, pace="fast"), 1)
    assert_same(fast, trained(variant, framework, SETTINGS, 1))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_batch_may_hold_more_than_all_samples(both, framework):
    settings = replace(SETTINGS, n_samples=100, batch_size=64, seeds=1)
    (fast,), _ = many("mlp-bn-after", framework, settings, both[framework])
    assert_same(fast, execute(Run("mlp-bn-after", framework, 0), settings, both[framework]))


def test_stock_is_exact_in_keras(both):
    exact, stock = (
        many("mlp-bn-after", "keras", replace(SETTINGS, alignment=a), both["keras"])[0][0]
        for a in ("exact", "stock")
    )
    assert weight_gap(exact.arrays, stock.arrays) == 0.0


@pytest.mark.sampled(5)
@pytest.mark.parametrize("undo", [c.name for c in CONVENTIONS.values() if c.switch])
def test_a_remedy_undone_is_undone_at_both_paces(both, undo):
    convention = CONVENTIONS[undo]
    settings = replace(SETTINGS, undo=(undo,), seeds=1, n_samples=100, batch_size=16)
    framework = "keras" if convention.side == "keras" else "torch"
    (fast,), _ = many(convention.touches[-1], framework, settings, both[framework])
    run = Run(convention.touches[-1], framework, 0)
    assert_same(fast, execute(run, settings, both[framework]))


def test_what_is_told_on_the_way(both, monkeypatch):
    monkeypatch.setitem(SEEDS_AT_ONCE, "vector", 2)
    outcomes, told = many("mlp", "torch", replace(SETTINGS, seeds=3, epochs=2), both["torch"])
    assert [outcome.record["seed"] for outcome in outcomes] == [0, 1, 2]
    progress = [t for t in told if not isinstance(t, Outcome)]
    assert [([r.seed for r in runs], epoch) for runs, epoch in progress] == [
        ([0, 1], 1),
        ([0, 1], 2),
        ([2], 1),
        ([2], 2),
    ]
    assert told[-1] is outcomes[-1]
    assert told[2] is outcomes[0], "what is finished is told before the next seeds begin"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_seeds_do_not_touch_each_other(both, framework):
    """A seed that diverges leaves its neighbours as they are alone."""
    adapter, settings = both[framework], replace(SETTINGS, seeds=2)
    (alone,), _ = many("mlp-bn-after", framework, replace(settings, seeds=1), adapter)

    class Poisoned:
        def __getattr__(self, name):
            return getattr(adapter, name)

        def fit_many(self, program, starts, *, on_epoch):
            def poisoned():
                for seed, (handle, orders) in enumerate(starts):
                    weights = adapter.read_weights(handle)
                    if seed == 1:
                        weights["hidden/kernel"][:] = np.nan
                    adapter.write_weights(handle, weights)
                    yield handle, orders

            return adapter.fit_many(program, poisoned(), on_epoch=on_epoch)

    outcomes, _ = many("mlp-bn-after", framework, settings, Poisoned())
    assert [outcome.record["status"] for outcome in outcomes] == ["ok", "diverged"]
    assert_same(outcomes[0], alone)
    assert outcomes[1].record["final"]["test_loss"] is None
