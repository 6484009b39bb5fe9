import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paired_records import diverged, run

from compare.analysis import equivalence
from compare.analysis.endpoints import ENDPOINTS, margins
from compare.analysis.equivalence import (
    LEVELS,
    compare_frameworks,
    decide,
    judge,
    judge_unpaired,
)
from compare.analysis.frames import match
from compare.analysis.intervals import student
from compare.spec import Settings

MARGINS = (-0.01, 0.01)


def generator():
    return np.random.default_rng(0)


def spread(mean, sd, n=10):
    """Differences with exactly this mean and standard deviation."""
    values = np.linspace(-1.0, 1.0, n)
    return mean + sd * values / values.std(ddof=1)


def study(accuracies, alignment="exact", **changes):
    """Pairs of runs, Torch's accuracy first."""
    runs = []
    for seed, (torch, keras) in enumerate(accuracies):
        runs += [run("keras", seed, accuracy=keras), run("torch", seed, accuracy=torch)]
    settings = Settings(alignment=alignment, **changes)
    found = compare_frameworks(runs, settings, generator())
    return {comparison.metric: comparison for comparison in found}


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        (np.zeros(10), "identical"),
        (spread(0.0, 0.003), "equivalent"),
        (spread(0.005, 0.003), "equivalent"),
        (spread(0.03, 0.003), "different"),
        (spread(-0.03, 0.003), "different"),
        (spread(0.01, 0.05), "inconclusive"),
        (np.array([0.0] * 9 + [0.002]), "refused"),
        (spread(0.0, 0.003, n=2), "refused"),
        (np.array([]), "refused"),
    ],
)
def test_the_five_verdicts(differences, verdict):
    judged = judge(differences, MARGINS, generator())
    assert judged.verdict == verdict
    assert (judged.low is None) is (verdict in ("identical", "refused"))
    assert (judged.further_seeds is not None) is (verdict == "inconclusive")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-20, 20), max_size=40), st.floats(0.001, 0.1))
def test_any_differences_get_a_verdict_and_swapped_sides_the_mirrored_one(counts, margin):
    differences = np.array(counts) * 0.002
    judged = judge(differences, (-margin, margin), generator())
    assert judged.verdict in equivalence.VERDICTS
    if judged.low is not None:
        assert judged.low <= judged.estimate <= judged.high
        assert judged.share.n == len(counts)
    # Student's t draws nothing: it is the same from either side.
    if judged.low is None or judged.method == "Student's t":
        assert judge(-differences, (-margin, margin), generator()).verdict == judged.verdict


def test_one_decimal_of_rounding_is_no_third_value():
    differences = np.array([0.814 - 0.812, 0.802 - 0.8, 0.0, 0.0])
    assert len(np.unique(differences)) == 3
    assert judge(differences, MARGINS, generator()).verdict == "refused"


def test_rounding_is_no_difference_and_no_spread():
    noise = np.linspace(1e-9, 9e-7, 10)
    assert judge(noise, MARGINS, generator(), rounding=1e-6).verdict == "identical"
    assert judge(noise, MARGINS, generator(), rounding=1e-8).verdict == "equivalent"
    noise[3] = 0.2
    judged = judge(noise, MARGINS, generator(), rounding=1e-6)
    assert (judged.verdict, judged.share.differ) == ("refused", 1)


def test_the_further_seeds_settle_it_and_one_fewer_does_not():
    differences = spread(0.006, 0.012)
    judged = judge(differences, MARGINS, generator())
    assert judged.verdict == "inconclusive"
    assert "would settle it" in judged.reason
    n = len(differences) + judged.further_seeds

    def by_student(n):
        ends = student(spread(0.006, 0.012, n)[None], LEVELS, generator())
        return decide(*ends, MARGINS)[0]

    assert (by_student(n - 1), by_student(n)) == ("inconclusive", "different")
    hopeless = judge(spread(0.0, 1e6), MARGINS, generator())
    assert hopeless.further_seeds is None
    assert hopeless.reason.startswith("even 100,000 further seeds would not settle it, if mean")


def test_unpaired_groups_get_welch_and_a_bootstrap_beside_it():
    judged = judge_unpaired(spread(0.80, 0.01), spread(0.90, 0.02), MARGINS, generator())
    assert judged.verdict == "different"
    assert judged.method == "Welch (unpaired)"
    assert judged.bootstrap.low == pytest.approx(judged.low, abs=0.005)
    apart = judge_unpaired(spread(0.80, 0.02), spread(0.81, 0.02), MARGINS, generator())
    assert apart.verdict == "inconclusive"
    assert apart.further_seeds > 0
    assert judge_unpaired(np.array([]), spread(0, 1), MARGINS, generator()).verdict == "refused"
    assert judge_unpaired(np.ones(9), spread(0, 1), MARGINS, generator()).verdict == "refused"


def test_every_endpoint_of_a_study_is_compared():
    found = study([(0.8, 0.8)] * 4)
    assert list(found) == list(ENDPOINTS)
    assert {comparison.verdict for comparison in found.values()} == {"identical"}
    assert found["epochs_to_target"].estimate == 1.0
    assert found["epochs_to_target"].margin == pytest.approx((0.9, 1.1))
    shifted = study([(0.8 + 0.002 * s, 0.9 + 0.004 * (s % 3)) for s in range(9)])
    assert shifted["test_accuracy"].verdict == "different"
    assert shifted["test_accuracy"].estimate == pytest.approx(-0.096)


def test_few_that_differ_are_counted_not_given_an_interval():
    found = study([(0.8, 0.8)] * 9 + [(0.806, 0.8)])["test_accuracy"]
    assert (found.verdict, found.low, found.high, found.method) == ("refused", None, None, "")
    assert found.reason.startswith("1 of 10 runs differs, by 0.006 (share: 0 to 45 %)")
    assert (found.share.differ, found.share.n) == (1, 10)


def test_naive_runs_are_unpaired_and_say_so():
    accuracies = [(0.8 + 0.01 * s, 0.82 + 0.01 * s) for s in range(5)]
    paired, unpaired = study(accuracies), study(accuracies, alignment="naive")
    assert paired["test_accuracy"].paired
    assert paired["test_accuracy"].verdict == "refused"  # one distinct difference
    assert not unpaired["test_accuracy"].paired
    assert "unpaired" in unpaired["test_accuracy"].reason
    assert unpaired["test_accuracy"].method == "Welch (unpaired)"


def test_diverged_and_missing_runs_are_named_and_never_averaged():
    runs = [run(f, s, accuracy=0.8 + 0.01 * s) for s in range(5) for f in ("keras", "torch")]
    runs += [diverged("keras", 5), run("torch", 5, accuracy=0.0), run("torch", 6, accuracy=0.0)]
    found = compare_frameworks(runs, Settings(), generator())
    for comparison in found:
        assert comparison.n == 5
        assert comparison.diverged == ("mlp-keras-5",)
        assert comparison.missing == ("mlp-keras-6",)
        assert comparison.verdict == "identical"


def test_a_side_without_any_run_is_missing_by_name():
    runs = [run("torch", seed) for seed in range(4)]
    for comparison in compare_frameworks(runs, Settings(), generator()):
        assert (comparison.n, comparison.verdict) == (0, "refused")
        assert comparison.missing == tuple(f"mlp-keras-{seed}" for seed in range(4))
        assert "no pair is complete" in comparison.reason
    for comparison in compare_frameworks(runs, Settings(alignment="naive"), generator()):
        assert comparison.verdict == "refused"
    assert compare_frameworks(runs, Settings(frameworks=("torch",)), generator()) == []
    assert match(runs[:1], [run(seed=9)]).missing == ("mlp-torch-9", "mlp-keras-0")


@pytest.mark.parametrize(
    "broken",
    [
        {"accuracy": None},
        {"loss": float("nan")},
        {"curve": [0.8, None, 0.8]},
        {"status": "diverged"},
    ],
)
@pytest.mark.parametrize("alignment", ["exact", "naive"])
def test_a_run_that_lacks_a_number_is_left_out(broken, alignment):
    runs = [run(f, s, accuracy=0.8 + 0.01 * s) for s in range(5) for f in ("keras", "torch")]
    runs += [run("keras", 5, **broken), run("torch", 5, accuracy=0.8)]
    for comparison in compare_frameworks(runs, Settings(alignment=alignment), generator()):
        assert comparison.diverged == ("mlp-keras-5",)
        assert comparison.n == 5


def test_pairs_that_miss_the_target_are_counted():
    runs = [run(f, s, hit=3 + s) for s in range(4) for f in ("keras", "torch")]
    runs += [run("keras", 4, hit=None), run("torch", 4, hit=9)]
    found = {c.metric: c for c in compare_frameworks(runs, Settings(), generator())}
    assert (found["epochs_to_target"].n, found["epochs_to_target"].missed) == (4, 1)
    assert (found["test_loss"].n, found["test_loss"].missed) == (5, 0)


def test_epochs_are_compared_by_their_ratio():
    runs = []
    for seed, (torch, keras) in enumerate([(20, 10), (22, 10), (18, 10), (21, 10), (19, 11)]):
        runs += [run("torch", seed, hit=torch), run("keras", seed, hit=keras)]
    found = {c.metric: c for c in compare_frameworks(runs, Settings(), generator())}
    epochs = found["epochs_to_target"]
    assert epochs.estimate == pytest.approx(1.96, abs=0.02)
    assert epochs.low < epochs.estimate < epochs.high
    assert epochs.verdict == "different"


def test_margins_come_from_the_settings():
    settings = Settings(accuracy_margin=0.02, loss_margin=0.5, epochs_ratio_margin=(0.5, 3.0))
    assert margins(ENDPOINTS["accuracy_area"], settings) == (-0.02, 0.02)
    assert margins(ENDPOINTS["test_loss"], settings) == (-0.5, 0.5)
    assert np.exp(margins(ENDPOINTS["epochs_to_target"], settings)) == pytest.approx((0.5, 3.0))
    accuracies = [(0.8 + 0.001 * s, 0.8) for s in range(9)]
    narrow = study(accuracies)["test_accuracy"].verdict
    wide = study(accuracies, accuracy_margin=0.0001)["test_accuracy"].verdict
    assert (narrow, wide) == ("equivalent", "different")


def test_json_holds_no_nan():
    for comparison in study([(0.8, 0.8), (0.9, 0.7), (0.7, 0.8), (0.6, 0.7)]).values():
        content = comparison.to_json()
        assert json.loads(json.dumps(content, allow_nan=False)) == content
    broken = replace(comparison, estimate=float("nan"), low=float("inf"))
    assert broken.to_json()["estimate"] is None
    assert broken.to_json()["low"] is None
