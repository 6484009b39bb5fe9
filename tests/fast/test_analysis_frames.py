import numpy as np
import pytest
from paired_records import run

from compare.analysis.frames import (
    counted,
    is_sound,
    largest_difference,
    match,
    pairs,
    run_frame,
    weight_gap,
)


def test_a_missing_number_stays_none_and_a_count_an_int():
    frame = run_frame([run(seed=0, hit=3), run(seed=1, hit=None)])
    assert frame["epochs_to_target"].tolist() == [3, None]
    assert frame["seed"].tolist() == [0, 1]
    assert run_frame([]).empty


def test_runs_match_by_seed_whatever_their_order():
    first, second = [run("torch", s) for s in (2, 0, 1)], [run("keras", s) for s in (3, 2, 0)]
    matched = match(first, second)
    assert [(a["framework"], a["seed"], b["seed"]) for a, b in matched.pairs] == [
        ("torch", 0, 0),
        ("torch", 2, 2),
    ]
    assert matched.missing == ("mlp-torch-3", "mlp-keras-1")


def test_pairs_share_variant_and_seed():
    runs = [run(seed=0), run("torch", seed=0), run(seed=1)]
    (pair,) = pairs(runs)
    assert (pair.variant, pair.seed) == ("mlp", 0)
    assert pair.torch["framework"] == "torch"


def test_largest_difference_looks_at_every_element():
    a = np.zeros((3, 4))
    b = a.copy()
    b[2, 1] = 1e-9
    assert largest_difference([a, a], [a, b]) == 1e-9
    assert np.isnan(largest_difference([a], [a[:2]]))
    b[0, 0] = np.nan
    assert np.isnan(largest_difference([a, b], [a, b]))
    with pytest.raises(ValueError, match="zip"):
        largest_difference([a], [a, a])


def test_weight_gap_wants_the_same_names():
    a = {"hidden/kernel": np.ones(2), "test_probability": np.ones(3)}
    assert weight_gap(a, {"hidden/kernel": np.ones(2)}) == 0.0
    assert np.isnan(weight_gap(a, {"hidden/bias": np.ones(2)}))


def test_a_sum_that_overflows_is_not_a_run_that_diverged():
    record = {"status": "ok", "final": {}, "history": {"test_loss": [1.7e308, 1.7e308]}}
    assert is_sound(record)
    assert not is_sound({**record, "history": {"test_loss": [1.0, None]}})
    assert not is_sound({**record, "final": {"test_loss": float("nan")}})


def test_a_run_that_lacks_a_number_is_counted_as_diverged():
    fine = {"status": "ok", "final": {"a": 1.0}, "history": {"a": [0.5, 1.0]}}
    assert counted(fine) is fine
    lost = counted({**fine, "final": {"a": float("nan")}, "history": {"a": [None, 1.0]}})
    assert lost == {"status": "diverged", "final": {"a": None}, "history": {"a": [None, 1.0]}}
    assert counted(lost) is lost
