import json
import subprocess
import sys

import pytest

from compare.cli import app, main
from compare.spec import Settings
from compare.study import run as study
from compare.study.records import RunFolder

BLOCK = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        absent = name.partition(".")[0] in {blocked}
        return None if absent else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def bn_compare(*arguments, blocked=(), tmp_path=None):
    """Run the command in a fresh interpreter; packages named in `blocked` cannot be imported.

    A `sitecustomize` does the blocking, so that it holds in the processes of the frameworks too.
    """
    environment = None
    if blocked:
        import os

        site = tmp_path / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(BLOCK.format(blocked=set(blocked)))
        environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-m", "compare", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
    )


KERAS = ("keras", "tensorflow")
TORCH = ("torch", "lightning", "torchmetrics")
SMALL = ("--variants", "mlp", "--epochs", "1", "--seeds", "1")


@pytest.mark.slow
def test_json_is_all_that_stdout_carries_and_the_table_has_the_verdict_of_the_report(tmp_path):
    done = bn_compare("run", *SMALL, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["run_dir"] == str(tmp_path / "out")
    assert [(row["variant"], row["framework"]) for row in result["rows"]] == [
        ("mlp", "keras"),
        ("mlp", "torch"),
    ]
    assert set(result["rows"][0]) == {
        "variant",
        "framework",
        "alignment",
        "seeds",
        "test_accuracy_mean",
        "epochs_to_target_median",
        "epoch_seconds_median",
    }
    assert "oneDNN" not in done.stderr

    out = tmp_path / "out"
    done = bn_compare("report", out)
    judged = json.loads((out / "report.json").read_text())["pairs"]
    (verdict,) = (pair["verdict"] for pair in judged if pair["metric"] == "test_accuracy")
    (line,) = (line.split() for line in done.stdout.splitlines() if line.startswith("mlp   "))
    assert line[3] == verdict


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "absent"), [("keras", TORCH), ("torch", KERAS)])
def test_one_framework_alone_gives_a_one_sided_report(tmp_path, framework, absent):
    out = tmp_path / "out"
    arguments = ("run", *SMALL, "--frameworks", framework, "--out", out)
    done = bn_compare(*arguments, blocked=absent, tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"run folder: {out}" in done.stdout
    assert "Train: 0." in done.stdout
    assert [r["framework"] for r in RunFolder.open(out).records()] == [framework]
    assert (out / "report.html").stat().st_size > 10_000

    other = bn_compare("run", *SMALL, "--out", tmp_path / "both", blocked=absent, tmp_path=tmp_path)
    assert other.returncode == 2
    assert f"--frameworks {framework}" in other.stderr
    assert other.stderr.count("\n") == 1
    assert not (tmp_path / "both").exists()

    neither = (*KERAS, *TORCH)
    again = bn_compare("report", out, blocked=neither, tmp_path=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert bn_compare("--help", blocked=neither, tmp_path=tmp_path).returncode == 0


def test_tensorboard_absent_is_said_before_anything_trains(tmp_path):
    arguments = ("run", *SMALL, "--pace", "idiomatic", "--out", tmp_path / "out")
    done = bn_compare(
        *arguments,
        *("--tensorboard", tmp_path / "events"),
        blocked=("tensorboard", "tensorboardX"),
        tmp_path=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'bn-compare[tensorboard]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not {"out", "events"} & {path.name for path in tmp_path.iterdir()}


def test_settings_come_from_options_of_their_name(tmp_path, monkeypatch):
    asked = []

    def run_study(settings, path, *, progress, say, events):
        asked.append((settings, path, say, events))
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run_study", run_study)
    margins = ("--accuracy-margin", "0.02", "--loss-margin", "0.3", "--epochs-ratio-margin", ".8,2")
    others = ("--frameworks", "torch", "--undo", "bn-momentum", "--no-timing", "--target", "0.7")
    out = tmp_path / "out"
    assert app(["run", *SMALL, *margins, *others, "--out", str(out)], standalone_mode=False) == 130
    expected = Settings(
        **{"variants": ("mlp",), "epochs": 1, "seeds": 1, "pace": "fast", "target": 0.7},
        **{"accuracy_margin": 0.02, "loss_margin": 0.3, "epochs_ratio_margin": (0.8, 2)},
        **{"frameworks": ("torch",), "undo": ("bn-momentum",)},
    )
    assert asked == [(expected, out, None, None)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--variants", "mlp-bn-aftr"], "Did you mean 'mlp-bn-after'?"),
        (["run", "--variants", ","], "no variant named"),
        (["run", "--frameworks", "pytorch"], "Did you mean 'torch'?"),
        (["run", "--frameworks", ""], "no framework named"),
        (["run", "--alignment", "exactly"], "Did you mean 'exact'?"),
        (["run", "--dtype", "float16"], "unknown dtype 'float16'"),
        (["run", "--pace", "quick"], "unknown pace 'quick'"),
        (["run", "--undo", "bn-momentu"], "Did you mean 'bn-momentum'?"),
        (["run", "--seeds", "0"], "--seeds: expected"),
        (["run", "--seeds", "many"], "'many'"),
        (["run", "--epochs", "0"], "--epochs: expected"),
        (["run", "--batch-size", "0"], "--batch-size: expected"),
        (["run", "--learning-rate", "-1"], "--learning-rate: expected"),
        (["run", "--learning-rate", "nan"], "--learning-rate: expected"),
        (["run", "--batch-size", "499"], "one sample"),
        (["run", "--accuracy-margin", "1"], "--accuracy-margin: expected in (0, 1)"),
        (["run", "--loss-margin", "0"], "--loss-margin: expected a positive number"),
        (["run", "--epochs-ratio-margin", "1.1"], "two ratios such as 0.9,1.1, received 1.1"),
        (["run", "--epochs-ratio-margin", "1.1,0.9"], "a first ratio in (0, 1), received 1.1"),
        (["run", "--epochs-ratio-margin", "0.9,much"], "a second ratio above 1, received 'much'"),
        (["run", "--tensorboard", "logs"], "--tensorboard: expected --pace idiomatic"),
        (["run", "--sedes", "3"], "--seeds"),
        (["time", "--variants", "mpl"], "Did you mean 'mlp'?"),
        (["time", "--repetitions", "1"], "--repetitions: expected"),
        (["time", "--epochs", "1"], "--epochs: expected at least 2"),
        (["time", "--threads", "0"], "--threads: expected"),
        (["time", "--accelerator", "tpu"], "unknown accelerator 'tpu'"),
        (["run", "extra"], "extra"),
        (["rum"], "rum"),
        (["report"], "DIR"),
        (["report", "nowhere"], "expected manifest.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bn-compare", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.startswith("bn-compare: error: ")
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    done = bn_compare("run", *SMALL, "--out", tmp_path)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


def test_a_foreign_file_is_no_run_folder(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    done = bn_compare("report", tmp_path)
    assert done.returncode == 2
    assert "not written by bn-compare" in done.stderr


@pytest.mark.parametrize("command", [[], ["run"], ["report"], ["time"]])
def test_help_has_examples(command):
    done = bn_compare(*command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"bn-compare {' '.join(command)}" in done.stdout
