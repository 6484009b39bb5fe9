import math

import numpy as np
import pytest

from compare import resources


class Machine:
    """Counts seconds by itself: how long was slept, and how busy others were meanwhile."""

    def __init__(self, monkeypatch, load):
        self.now, self.busy, self.own, self.load = 0.0, 100.0, 10.0, iter(load)
        monkeypatch.setattr(resources, "_busy", lambda: self.busy)
        monkeypatch.setattr(resources.time, "process_time", lambda: self.own)
        monkeypatch.setattr(resources.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(resources.time, "sleep", self.sleep)

    def sleep(self, seconds, own=0.0):
        self.now += seconds
        self.own += own * seconds
        self.busy += (own + next(self.load)) * seconds


def test_what_this_process_computes_is_not_of_others(monkeypatch):
    machine = Machine(monkeypatch, [0.5])
    with resources.OtherPrograms() as others:
        assert math.isnan(others.cores)
        machine.sleep(2.0, own=1.0)
    assert others.cores == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("load", "patience", "waited"),
    [([0.0], 10.0, 0.0), ([1.0, 1.0, 0.05], 10.0, 0.5), ([1.0] * 9, 1.0, 1.0), ([], 0.0, 0.0)],
)
def test_waiting_ends_with_the_noise_or_with_patience(monkeypatch, load, patience, waited):
    Machine(monkeypatch, load)
    said = []
    assert resources.wait_until_quiet(patience, said.append) == pytest.approx(waited)
    assert said == (["waiting: other programs keep 1.0 cores busy"] if waited else [])


def test_peak_memory_holds_what_was_allocated():
    block = np.ones(2**23)
    assert resources.peak_bytes() > block.nbytes
