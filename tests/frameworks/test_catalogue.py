"""The catalogue says how each convention is found, and its remedies do what they say."""

import ast
from pathlib import Path

import pytest
from wrong_ports import WRONG

import compare
from compare.conventions import CONVENTIONS, FOUND
from compare.porting import compare_traces

PACKAGE = Path(compare.__file__).parent
FROM = {
    "numbers": sorted(
        {*(PACKAGE / "parity" / "explain").glob("*.py")}
        - {PACKAGE / "parity" / "explain" / "whole_trainings.py"}
    ),
    "training": [PACKAGE / "parity" / "explain" / "whole_trainings.py"],
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

NUMBERS = [n for n, c in CONVENTIONS.items() if "numbers" in c.found and n in WRONG]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_find_it(name, monkeypatch):
    for inspect in ("inspect_layers", "inspect_operations", "inspect_training"):
        monkeypatch.setattr(compare_traces, inspect, lambda *sides: [])
    (model, module, x, y), options = WRONG[name].arguments()
    report = compare.check_parity(model, module, x, y, **options)
    assert name in report.first_divergence.explained_by


def test_slopes_that_are_rounded_are_printed_so():
    assert CONVENTIONS["leaky-relu-slope"].remedy("torch", {"keras": 0.30000001192092896}) == (
        "`nn.LeakyReLU(float(np.float32(0.3)))`"
    )
    assert CONVENTIONS["leaky-relu-slope"].remedy("torch") == "`nn.LeakyReLU(<Keras' value>)`"
