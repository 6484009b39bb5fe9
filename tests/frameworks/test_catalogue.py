"""The catalogue says how each convention is found, and its remedies do what they say."""

import ast
from pathlib import Path

import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F
from wrong_pairs import WRONG

import compare
from compare.conventions import CONVENTIONS, FOUND
from compare.porting import compare_traces

PACKAGE = Path(compare.__file__).parent
FROM = {
    "numbers": sorted((PACKAGE / "parity" / "explain").glob("*.py")),
    "inspection": [*(PACKAGE / "porting").glob("*.py"), PACKAGE / "parity" / "randomness.py"],
}


def strings(files):
    """Every text in programs that is no documentation."""
    nodes = (n for file in files for n in ast.walk(ast.parse(file.read_text("utf-8"))))
    return {node.value for node in nodes if isinstance(node, ast.Constant)}


@pytest.mark.parametrize("way", FROM)
def test_what_is_found_in_a_way_is_what_the_programs_name_there(way):
    named = strings(FROM[way])
    endings = tuple(text for text in named if isinstance(text, str) and text.startswith("-"))
    for name, entry in CONVENTIONS.items():
        # `adam-epsilon` is made of the optimizer's kind.
        assert (way in entry.found) is (name in named or name.endswith(endings)), name


@pytest.mark.parametrize("name", CONVENTIONS)
def test_an_entry_says_how_it_is_found(name):
    found = CONVENTIONS[name].found
    assert found
    assert set(found) <= set(FOUND)
    assert ("documentation" in found) is (found == ("documentation",))


@pytest.mark.parametrize("name", [n for n, c in CONVENTIONS.items() if "inspection" in c.found])
def test_inspection_finds_it(name):
    (model, module, x, _), options = WRONG[name].arguments()
    del options["weights_from"]
    inspection = compare.inspect_pair(model, module, x, **options)
    assert name in [finding.convention for finding in inspection.findings]


# A warning is all that tells a porter, and here it is meant.
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")

NUMBERS = [n for n in WRONG if "numbers" in CONVENTIONS[n].found]


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_find_it(name, monkeypatch):
    for inspect in ("inspect_layers", "inspect_operations", "inspect_training"):
        monkeypatch.setattr(compare_traces, inspect, lambda *sides: [])
    (model, module, x, y), options = WRONG[name].arguments()
    report = compare.check_parity(model, module, x, y, **options)
    assert name in report.first_divergence.explained_by


def printed_remedy(name):
    """The remedy, as the first lines of a failed check print it."""
    arguments, options = WRONG[name].arguments()
    report = compare.check_parity(*arguments, **options)
    lines = str(report).splitlines()
    line = next(line for line in lines if line.startswith((f"Explained by {name}", f"Also {name}")))
    return line.partition(" In Torch: ")[2].removesuffix(".")


def keywords(name):
    return lambda remedy: {"module": lambda: WRONG[name].module(**eval(f"dict({remedy})"))}


def padded(remedy):
    padding, _, before = remedy.partition(", behind ")
    pad = eval(before.replace("F.pad(x, ", "nn.ZeroPad2d("))
    options = eval(f"dict({padding})")
    return {"module": lambda: WRONG["same-padding-stride"].module(before=pad, **options)}


def cropped(remedy):
    arguments, _, kept = remedy.partition(", then ")

    class Cropped(nn.Module):
        def forward(self, x):
            return eval(kept)

    options = eval(f"dict({arguments})")
    return {"module": lambda: WRONG["transposed-padding"].module(behind=Cropped(), **options)}


def of_optimizer(kind, **fixed):
    return lambda remedy: {"optimizer": lambda p: kind(p, **fixed, **eval(f"dict({remedy})"))}


CLASS_WEIGHTS = torch.tensor([1.0, 5.0, 0.5], dtype=torch.float64)

KEYWORDS = ("bn-momentum", "bn-momentum-copied", "bn-epsilon", "norm-epsilon", "average-pool-same")

APPLIED = {
    **{name: keywords(name) for name in KEYWORDS},
    "leaky-relu-slope": lambda remedy: {
        "module": lambda: WRONG["leaky-relu-slope"].module(eval(remedy))
    },
    "same-padding-stride": padded,
    "transposed-padding": cropped,
    "same-padding-size": lambda remedy: keywords("same-padding-size")(
        remedy.removesuffix(" (stride 1)")
    ),
    "sgd-default-learning-rate": of_optimizer(optim.SGD),
    "label-smoothing": lambda remedy: {"loss": nn.CrossEntropyLoss(**eval(f"dict({remedy})"))},
    "huber-delta": lambda remedy: {"loss": eval(remedy)},
    "class-weights": lambda remedy: {
        "loss": lambda output, target: eval(
            remedy, {"F": F, "output": output, "target": target, "weight": CLASS_WEIGHTS}
        )
    },
    "loss-reduction": lambda remedy: {
        "loss": nn.MSELoss(**eval(f"dict({remedy.removesuffix(', the default')})"))
    },
}
"""What a reader does who follows the remedy, from its words."""


@pytest.mark.parametrize("name", APPLIED)
def test_a_remedy_as_printed_makes_the_port_right(name):
    remedy = printed_remedy(name)
    assert "<" not in remedy
    arguments, options = WRONG[name].arguments(**APPLIED[name](remedy))
    compare.check_parity(*arguments, **options).raise_if_diverged()


def test_slopes_that_are_rounded_are_printed_so():
    assert CONVENTIONS["leaky-relu-slope"].remedy("torch", {"keras": 0.30000001192092896}) == (
        "nn.LeakyReLU(float(np.float32(0.3)))"
    )
    assert CONVENTIONS["leaky-relu-slope"].remedy("torch") == "nn.LeakyReLU(<Keras' value>)"
