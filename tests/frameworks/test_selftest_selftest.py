import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from compare.backends.torch.bugs import BUGS
from compare.errors import InputError
from compare.parity.ladder import RUNGS, Divergence
from compare.parity.twins import Side, check_pair
from compare.selftest import command as selftest_command
from compare.selftest import runner
from compare.selftest.bugs import MUTATIONS, NEUTRAL, Mutated, quick
from compare.selftest.runner import Caught, chosen, summary
from compare.spec import VARIANTS, Settings


@pytest.fixture(scope="module")
def calls(both):
    """Jobs done in this process."""

    def call_of(framework):
        return lambda job: job(framework, lambda epoch: None)

    return {name: call_of(framework) for name, framework in both.items()}


def inject(calls, mutations, **options):
    return list(runner.selftest(mutations, calls, **options))


def test_the_register_covers_every_rung_and_carries_what_it_names():
    assert len(MUTATIONS) >= 30
    rungs = Counter(mutation.expected_rung for mutation in MUTATIONS.values())
    assert set(rungs) == set(RUNGS)
    for name, mutation in MUTATIONS.items():
        assert mutation.name == name
        assert mutation.variant in VARIANTS
        assert mutation.description
        assert mutation.expected_layer
        assert mutation.size is None or mutation.size > 0
    assert set(MUTATIONS) == {*BUGS, *NEUTRAL}
    assert not {*BUGS} & NEUTRAL


def test_quick_is_one_per_rung():
    assert [mutation.expected_rung for mutation in quick()] == sorted(RUNGS)
    assert chosen(only_quick=True) == quick()
    assert chosen() == tuple(MUTATIONS.values())


def test_the_quick_ones_are_caught_where_expected(calls):
    results = inject(calls, quick(), shrink=False)
    assert {r.mutation.name: r.divergence for r in results if not r.caught} == {}
    assert [r.mutation.name for r in results if r.misexplained] == []
    for result in results:
        assert set(result.divergence.explained_by) == set(result.mutation.explained_by)


@pytest.mark.parametrize("name", ["pool-stride", "conv-padding"])
def test_a_port_that_raises_is_blamed_on_the_layer(calls, name):
    (result,) = inject(calls, [MUTATIONS[name]])
    assert result.caught, result.divergence


class Here:
    """A worker that works in this process."""

    def __init__(self, framework):
        self.framework = framework

    def call(self, job, on_epoch=lambda epoch: None):
        return job(self.framework, on_epoch)


def test_parity_reports_a_port_that_raises_and_does_not_train_it(both):
    broken = Here(Mutated(both["torch"], MUTATIONS["pool-stride"]))
    keras = Here(both["keras"])
    sides = {"keras": Side(keras, keras), "torch": Side(broken, broken)}
    settings = Settings(dtype="float64", epochs=1)
    report = check_pair("cnn", 0, settings, sides, lambda run, epoch: None)
    assert not report.passed
    assert report.first_divergence.rung == 4
    assert report.first_divergence.layer == "between conv2 and output"
    assert [rung.rung for rung in report.rungs] == list(range(1, 10))
    assert report.heat is None
    assert json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.parametrize("name", ["bn-statistics-detached", "relu-gradient-leaky"])
def test_a_wrong_gradient_is_blamed_on_what_made_it(calls, name):
    (result,) = inject(calls, [MUTATIONS[name]], shrink=False)
    assert result.caught, result.divergence


def test_a_bug_of_size_zero_is_not_caught_and_the_self_test_fails(calls, capsys):
    nothing = replace(MUTATIONS["learning-rate-off"], size=0.0)
    results = inject(calls, [nothing])
    assert results[0].divergence is None
    assert not results[0].caught
    assert results[0].smallest_size is None
    assert selftest_command.show(results, as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["caught"], found["total"]) == (0, 1)
    assert found["mutations"][0]["caught_rung"] is None
    assert selftest_command.show(results, as_json=False) == 1
    assert "nowhere" in capsys.readouterr().out


def test_the_smallest_size_is_above_the_first_that_passes(calls):
    (result,) = inject(calls, [MUTATIONS["learning-rate-off"]])
    assert result.caught
    assert 1e-13 < result.smallest_size < 1e-10
    smaller = replace(result.mutation, size=result.smallest_size / 10.0)
    assert not inject(calls, [smaller], shrink=False)[0].caught


def found(rung, layer, *explained_by):
    mutation = MUTATIONS["bn-epsilon"]
    return Caught(mutation, Divergence(rung, RUNGS[rung], 1, layer, explained_by))


def test_caught_elsewhere_is_not_caught(capsys):
    assert found(4, "batch_norm").caught
    assert not found(4, "hidden").caught
    assert not found(8, "batch_norm").caught
    results = [found(4, "batch_norm"), found(8, "batch_norm", "bn-momentum")]
    assert summary(results)["caught"] == 1
    assert selftest_command.show(results, as_json=False) == 1
    shown = capsys.readouterr().out
    assert "1 of 2 caught" in shown
    assert "bn-epsilon: bn-momentum is named" in shown
    assert selftest_command.show(results[:1], as_json=False) == 0
    assert selftest_command.show([], as_json=False) == 1


def test_json_has_what_the_report_needs():
    (entry,) = summary([found(4, "batch_norm", "bn-epsilon")])["mutations"]
    assert entry["name"] == "bn-epsilon"
    assert entry["variant"] == "mlp-bn-after"
    assert (entry["expected_rung"], entry["caught_rung"]) == (4, 4)
    assert (entry["expected_layer"], entry["caught_layer"]) == ("batch_norm", "batch_norm")
    assert entry["caught"] is True
    assert entry["explained_by"] == ["bn-epsilon"]
    assert entry["misexplained"] == []


def test_an_unknown_name_is_told_with_its_neighbour():
    with pytest.raises(InputError, match="Did you mean 'bn-epsilon'"):
        chosen(["bn-epsilom"])


def test_an_unknown_bug_is_refused(both):
    variant = VARIANTS["mlp"]
    handle = both["torch"].build(
        variant.family, {}, seed=0, sgd={"learning_rate": 0.1, "momentum": 0.0}, undone=()
    )
    with pytest.raises(ValueError, match="unknown bug 'none'"):
        both["torch"].mutate(handle, "none", 1.0)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "compare", "selftest", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_command_prints_json_alone():
    done = command("--only", "bn-epsilon,last-batch-dropped", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["caught"], result["total"]) == (2, 2)
    assert [m["name"] for m in result["mutations"]] == ["bn-epsilon", "last-batch-dropped"]
    assert "[2/2] last-batch-dropped: caught" in done.stderr


def test_the_command_refuses_an_unknown_name_in_one_line():
    done = command("--only", "bn-epsilom")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Did you mean 'bn-epsilon'?" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_has_examples():
    done = command("--help")
    assert done.returncode == 0
    assert "bn-compare selftest --only" in done.stdout
