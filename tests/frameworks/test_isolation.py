"""Who imports whom, in fresh interpreters, each with a test that the check itself can fail."""

import subprocess
import sys

import pytest

PROBE = """
import sys
{code}
print(*sorted(set(m.partition('.')[0] for m in sys.modules) & {{{forbidden}}}))
"""
FRAMEWORKS = ("keras", "tensorflow", "torch", "lightning")


def imported(code, forbidden):
    names = ", ".join(repr(name) for name in forbidden)
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code, forbidden=names)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import bn_torch", ["keras", "tensorflow", "compare", "bn_keras"]),
        ("import bn_keras", ["torch", "lightning", "compare", "bn_torch"]),
        ("import compare.backends.torch.adapter", ["keras", "tensorflow", "bn_keras"]),
        ("import compare.backends.keras.adapter", ["torch", "lightning", "bn_torch"]),
        ("import compare.cli", [*FRAMEWORKS, "sklearn", "numpy", "matplotlib", "jinja2"]),
        (
            "import compare.study.run, compare.report.pages, compare.study.runs",
            [*FRAMEWORKS, "matplotlib"],
        ),
    ],
)
def test_imports_stay_apart(code, forbidden):
    assert imported(code, forbidden) == []


@pytest.mark.parametrize("intruder", ["sklearn", "compare"])
def test_the_check_sees_an_intruder(intruder):
    assert imported(f"import {intruder}", [intruder]) == [intruder]
