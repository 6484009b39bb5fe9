"""The fast pace gives the numbers of the idiomatic one: what lets a reader trust it."""

from dataclasses import replace

import numpy as np
import pytest
from tolerances import PACES

from compare.conventions import CONVENTIONS
from compare.paces import execute, execute_many
from compare.runs import Outcome, Run
from compare.spec import FRAMEWORKS, VARIANTS, Settings
from compare.stats import weight_gap

SETTINGS = Settings(dtype="float64", epochs=3, seeds=2)
UNDONE = [c.name for c in CONVENTIONS.values() if c.switch]


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


@pytest.mark.parametrize("alignment", ["exact", "stock", "naive"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_both_paces_give_the_same_numbers(both, framework, variant, alignment):
    settings = replace(SETTINGS, alignment=alignment)
    outcomes, _ = many(variant, framework, settings, both[framework])
    for seed, fast in enumerate(outcomes):
        assert fast.record["seed"] == seed
        assert fast.record["epoch_seconds"] is None
        assert_same(fast, execute(Run(variant, framework, seed), settings, both[framework]))
    assert weight_gap(outcomes[0].arrays, outcomes[1].arrays) > 1e-3, "two seeds, one training"


@pytest.mark.parametrize("undo", UNDONE)
def test_a_remedy_undone_is_undone_at_both_paces(both, undo):
    settings = replace(SETTINGS, undo=(undo,), seeds=1, epochs=2, batch_size=48)
    variant = CONVENTIONS[undo].touches[-1]
    for framework, adapter in both.items():
        (fast,), _ = many(variant, framework, settings, adapter)
        assert_same(fast, execute(Run(variant, framework, 0), settings, adapter))
