"""Clocks for benchmarks: two sides in turns, so that a machine that slows down troubles both."""

import time

import numpy as np
import pytest

from compare.backends.loading import NAMES, load


def pytest_benchmark_update_json(config, benchmarks, output_json):
    """Keep what the README needs: no host name, no path, no list of every round."""
    machine = output_json["machine_info"]
    output_json["machine_info"] = {key: machine[key] for key in ("system", "machine")} | {
        "cpu": machine["cpu"].get("brand_raw"),
        "python": machine["python_version"],
    }
    output_json.pop("commit_info", None)
    for benchmark in output_json["benchmarks"]:
        benchmark["stats"] = {key: benchmark["stats"][key] for key in ("min", "median", "max")}
        benchmark["options"] = {}


@pytest.fixture(params=NAMES)
def framework_name(request):
    return request.param


@pytest.fixture
def framework(framework_name):
    """Each framework in turn, in float32 with one thread."""
    adapter = load(framework_name)
    adapter.configure(dtype="float32", threads=1)
    return adapter


@pytest.fixture
def in_turns(benchmark):
    """Time a function beside another one, A B A B …, and keep the ratio with the result."""

    def measure(timed, other, *, rounds, scale=1.0, **notes):
        """Time `timed`; `extra_info` says how many times as long `scale` times `other` takes."""
        others = []

        def run_other():
            start = time.perf_counter()
            other()
            others.append(scale * (time.perf_counter() - start))

        benchmark.pedantic(timed, setup=run_other, rounds=rounds)
        ratios = np.array(others) / np.array(benchmark.stats.stats.data)
        benchmark.extra_info.update(
            other_seconds=float(np.median(others)),
            ratio=float(np.median(ratios)),
            ratio_low=float(ratios.min()),
            ratio_high=float(ratios.max()),
            **notes,
        )

    return measure
