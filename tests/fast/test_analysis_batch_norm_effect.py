import json

import numpy as np
import pytest
from paired_records import diverged, run

from compare.analysis.batch_norm_effect import EFFECTS, benefits, lags
from compare.analysis.equivalence import VERDICTS
from compare.spec import Settings


def study(gain, framework="torch", **numbers):
    runs = []
    for seed in range(10):
        base = 0.7 + 0.002 * (seed % 5)
        runs.append(run(framework, seed, accuracy=base))
        with_bn = {"variant": "mlp-bn-after", "accuracy": base + gain + 0.002 * (seed % 4)}
        runs.append(run(framework, seed, **with_bn, **numbers))
    return runs


def found(records, **changes):
    effects = benefits(records, Settings(**changes), np.random.default_rng(0))
    return {effect.comparison.metric: effect for effect in effects}


def test_a_gain_is_better_and_a_loss_is_worse():
    for gain, word in ((0.1, "better"), (-0.1, "worse"), (0.0, "no effect that matters")):
        effect = found(study(gain))["test_accuracy"]
        assert effect.effect == word
        assert effect.comparison.sides == ("mlp-bn-after", "mlp")
        assert effect.framework == "torch"
        assert effect.comparison.estimate == pytest.approx(gain + 0.0026)


def test_fewer_epochs_and_less_loss_are_better():
    losses = study(0.0)
    for record in losses:
        if record["variant"] != "mlp":
            record["final"]["test_loss"] += 0.1 + 0.01 * record["seed"]
            record["epochs_to_target"] = 1 if record["seed"] % 2 else 2
        else:
            record["epochs_to_target"] = 9 + record["seed"]
    effects = found(losses)
    assert effects["test_loss"].effect == "worse"
    assert effects["epochs_to_target"].effect == "better"
    assert effects["epochs_to_target"].comparison.estimate < 0.9


def test_each_framework_is_judged_by_itself_and_naive_runs_pair_by_seed():
    effects = benefits(
        [*study(0.1), *study(-0.1, "keras")],
        Settings(alignment="naive"),
        np.random.default_rng(0),
    )
    words = {e.framework: e.effect for e in effects if e.comparison.metric == "test_accuracy"}
    assert words == {"torch": "better", "keras": "worse"}
    assert all(effect.comparison.paired for effect in effects)


def test_without_a_baseline_there_is_nothing_to_say():
    alone = [r for r in study(0.1) if r["variant"] != "mlp"]
    assert found(alone, variants=("mlp-bn-after",)) == {}
    lost = found(alone)["test_loss"]
    assert lost.effect == "not judged"
    assert lost.comparison.missing[0] == "mlp-torch-0"


def test_every_verdict_has_a_word():
    assert {*EFFECTS, "different"} == set(VERDICTS)
    content = found(study(0.0))["test_loss"].to_json()
    assert (content["effect"], content["verdict"]) == ("no effect", "identical")
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_the_lag_of_moving_statistics_is_what_it_is():
    def both(seed, variant, moving, batch):
        record = run("keras", seed, variant=variant, curve=[0.5] * (moving - 1) + [0.9] * 3)
        curve = [0.5] * (batch - 1) + [0.9] * 30
        record["history"]["batch_statistics_test_accuracy"] = curve
        return record

    runs = [both(s, "mlp-bn-after", 16 + s, 2) for s in range(3)]
    runs += [both(3, "mlp-bn-no-momentum", 2, 2), run("keras", 0), diverged(variant="mlp-bn-after")]
    slow, fast = lags(runs, 0.8)
    assert (slow.variant, slow.decay, slow.epochs) == ("mlp-bn-after", 0.99, 15.0)
    assert (fast.decay, fast.epochs) == (0.0, 0.0)
    content = slow.to_json()
    assert (content["moving"]["median"], content["batch"]["median"]) == (17.0, 2.0)
    assert content["moving"]["diverged"] == 1
    json.dumps(content, allow_nan=False)
    (never,) = lags([both(0, "mlp-bn-after", 16, 2)], 0.95)
    assert never.epochs is None
