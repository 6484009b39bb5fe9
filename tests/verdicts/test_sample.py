"""A sample of the ports, and the table that counts what is said of them."""

from dataclasses import replace

import pytest
from torch import nn

from verdicts.port import fault
from verdicts.ports import all_ports, labelled
from verdicts.run import CRASHED, REFUSED, Verdict, all_judged, judged
from verdicts.table import lines, misses

# As a script has it: Lightning gives advice.
pytestmark = pytest.mark.filterwarnings("ignore")

SAMPLE = (
    "gru: as it is",
    "gru: gates as in Keras, gru",
    "gru: padding_idx, tokens",
    "gru: relu 0 left out",
    "gru: twice the rate",
    "gru: not in the optimizer, head",
    "mlp, SGD: as it is",
    "mlp, SGD: as it is (float32)",
    "mlp, SGD: the default rate",
    "mlp, SGD, momentum: no momentum",
    "mlp, clipnorm: clipped alike",
    "mlp, Adam: as it is (float32)",
    "mlp, Adam: the default epsilon",
    "mlp, L2: no penalty",
    "classes, softmax: logits and cross_entropy",
    "classes, softmax: softmax and cross_entropy",
    "classes, smoothed: not smoothed",
    "one number: (n, 1) against (n,)",
    "batch norm: stock, allowed",
    "batch norm: all defaults",
    "batch norm: stock, momentum copied",
    "flattened: channels first, weights as in Keras",
    "group norm: Torch's epsilon",
    "shared layer: two layers",
)
"""Ports whose verdict is right; one that becomes right belongs here."""


@pytest.fixture(scope="session")
def verdicts(both):
    """The verdicts of the sample by label."""
    return {verdict.label: verdict for verdict in all_judged(labelled(SAMPLE))}


@pytest.mark.parametrize("label", SAMPLE)
def test_a_verdict_is_right(verdicts, label):
    assert list(misses([verdicts[label]])) == []


def test_there_are_enough_ports(both):
    wrong = [port for port in all_ports() if port.fault is not None]
    right = [port for port in all_ports() if port.fault is None]
    assert len(wrong) >= 300
    assert sum(port.dtype == "float64" for port in right) >= 60
    assert sum(port.dtype == "float32" for port in right) >= 60
    assert all(port.fault.places for port in wrong)
    assert all(port.allow in ((), ("bn-biased-variance",)) for port in right)


def test_what_is_remembered_changes_no_verdict(verdicts):
    (port,) = labelled(["gru: relu 0 left out"])
    assert replace(judged(port), seconds=0.0) == replace(verdicts[port.label], seconds=0.0)


def test_what_is_no_verdict_is_told_apart(both):
    (port,) = labelled(["mlp, SGD: the default rate"])
    assert judged(replace(port, build=lambda: "no module")).came == REFUSED
    assert judged(replace(port, build=lambda: nn.Linear("no", "number"))).came == CRASHED


def test_a_fault_that_is_none_is_missed(both):
    (port,) = labelled(["mlp, SGD: as it is"])
    verdict = judged(replace(port, fault=fault("optimizer")))
    assert [line.held for line in lines([verdict])] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({}, [True, True, True, True, True]),
        ({"came": "passed", "names": ()}, [False, False, True, False, True]),
        ({"came": REFUSED, "names": ()}, [False, False, True, False, True]),
        ({"came": CRASHED, "names": ()}, [False, False, True, False, True]),
        ({"place": "head"}, [True, False, True, True, True]),
        ({"names": ("adam-epsilon", "bn-epsilon")}, [True, True, False, False, True]),
        ({"names": ("bn-epsilon", "adam-epsilon")}, [True, True, True, True, True]),
        ({"names": ()}, [True, True, True, False, True]),
        ({"right": True}, [True, True, True, True, False]),
        ({"right": True, "came": REFUSED}, [True, True, True, True, False]),
        ({"right": True, "came": "passed"}, [True, True, True, True, True]),
    ],
)
def test_the_table_counts_what_misses(change, held):
    caught = Verdict(
        "a port",
        right=False,
        came="failed",
        places=("norm",),
        place="norm",
        cause="bn-epsilon",
        causes=("bn-epsilon",),
        names=("bn-epsilon",),
    )
    verdict = replace(caught, **change)
    assert [line.held for line in lines([verdict])] == held
    assert (list(misses([verdict])) == []) is all(held)
