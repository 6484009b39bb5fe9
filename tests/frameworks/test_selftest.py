import json
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
from bugs import BUGS

from compare.errors import InputError
from compare.parity.ladder import RUNGS, Divergence
from compare.parity.twins import Side, check_pair
from compare.selftest import command as selftest_command
from compare.selftest import runner
from compare.selftest.bugs import faulty, one_per_rung
from compare.selftest.runner import Caught, chosen
from compare.spec import Settings

RATE = one_per_rung()["learning-rate-off"]


@pytest.fixture(scope="module")
def calls(both):
    """Jobs done in this process."""

    def call_of(framework):
        return lambda job: job(framework, lambda epoch: None)

    return {name: call_of(framework) for name, framework in both.items()}


def inject(calls, *bugs, **options):
    return list(runner.selftest(bugs, calls, **options))


def test_the_package_has_one_bug_per_rung():
    assert [bug.rung for bug in one_per_rung().values()] == sorted(RUNGS)
    assert chosen() == tuple(one_per_rung().values())


def test_bugs_can_be_sent_to_a_process():
    for bug in chosen():
        assert pickle.loads(pickle.dumps(bug)) == bug


def test_names_and_expectations_are_listed_without_torch():
    code = (
        "import sys; from compare.selftest.bugs import one_per_rung; "
        "assert len(one_per_rung()) == 11; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_explanation_is_the_expected_one(calls):
    results = inject(calls, *chosen(), shrink=False)
    assert {r.bug.name: r.divergence for r in results if not r.caught} == {}
    for result in results:
        assert set(result.divergence.explained_by) == set(result.bug.explained_by)


class Here:
    """A worker that works in this process."""

    def __init__(self, framework):
        self.framework = framework

    def call(self, job, on_epoch=lambda epoch: None):
        return job(self.framework, on_epoch)


def test_parity_reports_a_port_that_raises_and_does_not_train_it(both):
    broken = Here(faulty(both["torch"], BUGS["pool-stride"]))
    keras = Here(both["keras"])
    sides = {"keras": Side(keras, keras), "torch": Side(broken, broken)}
    settings = Settings(dtype="float64", epochs=1)
    report = check_pair("cnn", 0, settings, sides, lambda run, epoch, note: None)
    assert not report.passed
    assert report.first_divergence.rung == 4
    assert report.first_divergence.layer == "between conv2 and output"
    assert [rung.rung for rung in report.rungs] == list(range(1, 10))
    assert report.heat is None
    assert json.dumps(report.to_json(), allow_nan=False)


def test_a_bug_of_size_zero_is_not_caught_and_the_self_test_fails(calls, capsys):
    results = inject(calls, replace(RATE, size=0.0))
    assert results[0].divergence is None
    assert not results[0].caught
    assert results[0].smallest_size is None
    assert selftest_command.show(results, as_json=True) == 1
    content = json.loads(capsys.readouterr().out)
    assert (content["caught"], content["total"]) == (0, 1)
    assert content["mutations"][0]["caught_rung"] is None
    assert selftest_command.show(results, as_json=False) == 1
    assert "nowhere" in capsys.readouterr().out


def test_the_smallest_size_is_above_the_first_that_passes(calls):
    (result,) = inject(calls, RATE)
    assert result.caught
    assert 1e-13 < result.smallest_size < 1e-10
    smaller = replace(RATE, size=result.smallest_size / 10.0)
    assert not inject(calls, smaller, shrink=False)[0].caught


def epsilon_caught(rung, layer, *explained_by):
    return Caught(BUGS["bn-epsilon"], Divergence(rung, RUNGS[rung], 1, layer, explained_by))


def test_caught_elsewhere_is_not_caught(capsys):
    assert epsilon_caught(4, "batch_norm").caught
    assert not epsilon_caught(4, "hidden").caught
    assert not epsilon_caught(8, "batch_norm").caught
    results = [epsilon_caught(4, "batch_norm"), epsilon_caught(8, "batch_norm", "bn-momentum")]
    assert selftest_command.show(results, as_json=False) == 1
    shown = capsys.readouterr().out
    assert "1 of 2 caught" in shown
    assert "bn-epsilon: bn-momentum is named" in shown
    assert selftest_command.show(results[:1], as_json=False) == 0
    assert selftest_command.show([], as_json=False) == 1


def test_json_has_what_the_report_needs(capsys):
    selftest_command.show([epsilon_caught(4, "batch_norm", "bn-epsilon")], as_json=True)
    (entry,) = json.loads(capsys.readouterr().out)["mutations"]
    assert entry == {
        "name": "bn-epsilon",
        "variant": "mlp-bn-after",
        "description": "epsilon is too small",
        "expected_rung": 4,
        "caught_rung": 4,
        "expected_layer": "batch_norm",
        "caught_layer": "batch_norm",
        "caught": True,
        "step": 1,
        "explained_by": ["bn-epsilon"],
        "misexplained": [],
        "size": 1e-3 - 1e-5,
        "smallest_size": None,
        "unit": "epsilon",
    }


def test_an_unknown_name_is_refused_with_its_neighbour():
    with pytest.raises(InputError, match="Did you mean 'bias-dropped'"):
        chosen(["bias-droped"])


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "compare", "selftest", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.slow
def test_the_command_prints_json_alone():
    done = command("--only", "loss-summed,last-batch-dropped", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["caught"], result["total"]) == (2, 2)
    assert [m["name"] for m in result["mutations"]] == ["loss-summed", "last-batch-dropped"]
    assert "[2/2] last-batch-dropped: caught" in done.stderr


def test_the_command_refuses_an_unknown_name_in_one_line():
    done = command("--only", "bias-droped")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Did you mean 'bias-dropped'?" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_has_examples():
    done = command("--help")
    assert done.returncode == 0
    assert "bn-compare selftest --only" in done.stdout
