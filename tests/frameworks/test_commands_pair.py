"""`bn-compare parity a:b c:d` and `bn-compare init`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compare import cli
from compare.errors import InputError
from compare.porting import scaffold

NETS = """
import lightning
import keras
from torch import nn
from tiny_pair import almost_right_port, keras_model, right_port, stock_port

print("built, not a result")
number = 3

def plain():
    return stock_port().net

def broken():
    raise IndexError("mine")

def nothing():
    pass

def two_inputs():
    left, right = keras.Input((2,), name="left"), keras.Input((3,), name="right")
    x = keras.layers.Concatenate()([left, right])
    return keras.Model({"left": left, "right": right}, keras.layers.Dense(2)(x))

class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 2)
    def forward(self, left, right):
        import torch
        return self.linear(torch.cat([left, right], 1))
"""


@pytest.fixture
def bn_compare(tmp_path, monkeypatch, capsys, both):
    """Runs the command in a folder with `nets.py`: exit code, stdout, stderr."""
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "failing.py").write_text("import nowhere_to_be_found")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "nets", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bn-compare", *arguments])
        with pytest.raises(SystemExit) as done:
            cli.main()
        captured = capsys.readouterr()
        return done.value.code, captured.out, captured.err

    return run


TRAINED = ("--weights-from", "keras", "--targets", "binary")


def test_a_right_pair_passes(bn_compare):
    code, out, err = bn_compare("parity", "nets:keras_model", "nets:right_port", *TRAINED)
    assert (code, out.splitlines()[0]) == (0, "Keras and Torch agree on every rung.")
    assert "not a result" in err
    assert "--targets" not in err


def test_a_wrong_pair_fails_in_every_format(bn_compare, tmp_path):
    arguments = "nets:keras_model", "nets:stock_port", *TRAINED, "--html", "parity.html", "--json"
    code, out, _ = bn_compare("parity", *arguments)
    found = json.loads(out)
    assert (code, found["passed"]) == (1, False)
    assert found["first_divergence"]["explained_by"] == ["bn-epsilon"]
    assert "bn-epsilon" in (tmp_path / "parity.html").read_text()


def test_options_reach_the_ladder(bn_compare):
    arguments = "nets:keras_model", "nets:almost_right_port", *TRAINED, "--steps", "3", "--json"
    code, out, _ = bn_compare("parity", *arguments, "--dtype", "float32")
    assert (code, json.loads(out)["dtype"]) == (1, "float32")
    code, out, _ = bn_compare("parity", *arguments, "--allow", "bn-biased-variance")
    assert (code, json.loads(out)["allowed"]) == (0, ["bn-biased-variance"])


def test_without_targets_that_is_said_and_named_inputs_get_their_shapes(bn_compare):
    shapes = "--input-shape", "left=2", "--input-shape", "right=3"
    pair = "nets:two_inputs", "nets:TwoInputs", "--weights-from", "torch"
    code, out, err = bn_compare("parity", *pair, *shapes, "--samples", "5", "--seed", "3")
    assert code == 0, out + err
    assert "no --targets: only forward passes are compared" in err


def test_a_dry_run_prints_the_table_and_writes_nothing(bn_compare):
    pair = "nets:keras_model", "nets:right_port", "--pairs", "head=net.3"
    code, out, _ = bn_compare("parity", *pair, "--dry-run")
    assert code == 0
    assert "8 tensors of 3 layers would be carried over to Torch." in out
    head = out.splitlines()[3].split()
    assert (head[:3], head[-1]) == (["head", "net.3", "dense"], "pairs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nowhere:a nets:right_port", "no module 'nowhere' in"),
        ("failing:a nets:right_port", "importing failing failed: No module named 'nowhere_to_be"),
        ("nets:keras_modl nets:right_port", "Did you mean 'keras_model'?"),
        ("nets nets:right_port", "expected module:function"),
        ("nets:number nets:right_port", "expected a function that builds a model, received int"),
        ("nets:broken nets:right_port", "nets:broken raised IndexError: mine"),
        ("nets:nothing nets:right_port", "expected to return a keras.Model, received NoneType"),
        ("nets:keras_model", "expected two functions, Keras' and Torch's, received 1"),
        ("nets:keras_model nets:plain --targets normal", "build a LightningModule, or write a"),
        ("nets:keras_model nets:plain --targets clases:3", "unknown kind of targets 'clases:3'"),
        ("nets:keras_model nets:plain --input-shape 4,x", "the shape of one sample"),
        ("nets:keras_model nets:plain --input-shape a=1 --input-shape 2", "every input, or for"),
        ("nets:keras_model nets:plain --samples 0", "--samples: expected at least 1"),
        ("nets:keras_model nets:plain --pairs head", "expected keras_layer=torch.module"),
        ("nets:keras_model nets:plain --html no/such/page.html", "no/such is not a folder"),
        ("nets:keras_model nets:plain --steps 0", "steps: expected"),
        ("nets:keras_model nets:plain --weights-from karas", "Did you mean 'keras'?"),
        ("nets:keras_model nets:plain --dry-run --json", "leave out --json"),
        (
            "nets:keras_model nets:plain --seeds 3 --undo bn-axis",
            "--seeds, --undo apply to the built-in networks, not to your own pair. Remove them.",
        ),
        ("--steps 3 --input-shape 2", "--input-shape, --steps apply to your own pair"),
        ("--html page.html", "Name the pair, as module:keras_function module:torch_function, or"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(bn_compare, arguments, message):
    code, out, err = bn_compare("parity", *arguments.split())
    (line,) = [line for line in err.splitlines() if line.startswith("bn-compare: error")]
    assert (code, out) == (2, "")
    assert message in line
    assert "Traceback" not in err


@pytest.mark.slow
def test_init_writes_a_test_that_passes_and_never_overwrites(bn_compare, tmp_path):
    code, out, err = bn_compare("init", "made/tests")
    assert (code, out) == (0, "")
    file = tmp_path / "made/tests/test_parity.py"
    assert "python -m pytest made/tests/test_parity.py" in err
    again = bn_compare("init", "made/tests")
    assert again[0] == 2
    assert "exists already" in again[2]
    own = "--keras", "nets:keras_model", "--torch", "nets:right_port", "--input-shape", "4,4,2"
    assert bn_compare("init", "own", *own)[0] == 0
    for path in (file, tmp_path / "own/test_parity.py"):
        for check in (["check", "--select", "E,F,I,UP,B,W"], ["format", "--check"]):
            done = subprocess.run([sys.executable, "-m", "ruff", *check, "--isolated", path])
            assert done.returncode == 0
    paths = [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--import-mode=importlib",
            "made",
            "own",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *paths])},
        capture_output=True,
        text=True,
    )
    assert "2 passed" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("a:b", "", ()), "belong together"),
        (("a:b", "c:d", ()), "belong together"),
        (("a:b", "c", ("2",)), "expected module:function"),
        (("a:b; import os", "c:d", ("2",)), "expected module:function"),
    ],
)
def test_init_refuses_what_makes_no_test(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        scaffold.write(tmp_path, *given)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="exists already"):
        scaffold.write(tmp_path / "file", "", "", ())


@pytest.mark.parametrize(
    ("texts", "written"),
    [
        (["28,28,1"], "X = rng.normal(size=(8, 28, 28, 1))"),
        (["2", "3"], "X = (\n    rng.normal(size=(8, 2)),\n    rng.normal(size=(8, 3)),\n)"),
        (["a=2"], 'X = {\n    "a": rng.normal(size=(8, 2)),\n}'),
    ],
)
def test_samples_are_written_as_the_models_take_them(tmp_path, texts, written):
    assert written in scaffold.write(tmp_path, "a:b", "c:d", texts).read_text()
