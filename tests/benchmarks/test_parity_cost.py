"""What carrying weights over and checking costs: eleven small pairs, and a network of 50 layers.

And what a check costs beside another program that keeps a core busy.
"""

import subprocess
import sys
import time
from contextlib import contextmanager
from statistics import median

import numpy as np
import resnet_keras
import resnet_torch
from pairs import discover

import compare
from compare.backends.loading import NAMES, load
from compare.resources import peak_bytes


def configured(dtype):
    for name in NAMES:
        load(name).configure(dtype=dtype, threads=2)


def test_a_residual_network_of_50_layers(benchmark):
    """25.6 million parameters, 4 images of 224 × 224, float32: ported, then checked for a step."""
    configured("float32")
    import keras
    import torch
    from torch.nn import functional as F

    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 224, 224, 3)).astype("float32")
    y = rng.integers(0, 1000, 4)
    model = resnet_keras.build_resnet50()
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy")
    module = resnet_torch.build_resnet50()

    def check():
        compare.port_weights(model, module, x=x)
        return compare.check_parity(
            model,
            module,
            x,
            y,
            steps=1,
            torch_loss=F.cross_entropy,
            torch_optimizer=lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
        )

    report = benchmark.pedantic(check, rounds=1)
    assert report.passed, report.verdict()
    benchmark.extra_info.update(peak_bytes=peak_bytes(), verdict=report.verdict())


def test_the_small_pairs(benchmark):
    """Every pair of `tests/pairs`: carried over and checked in float64, two steps each."""
    configured("float64")

    def check():
        return [checked(pair) for pair in discover().values()]

    reports = benchmark.pedantic(check, rounds=1)
    assert all(report.passed for report in reports)
    benchmark.extra_info.update(pairs=len(reports))


def test_beside_a_busy_neighbour(benchmark):
    """A separable network, alone and beside a program that keeps a core busy, in turns.

    Threads are the default of a check, not those of `configured`.
    """
    configured("float64")
    pair = discover()["separable"]
    checked(pair)  # What is compiled once is compiled.
    alone, beside = [], []

    def turns():
        for _ in range(5):
            alone.append(seconds(pair))
            with a_busy_neighbour():
                beside.append(seconds(pair))

    benchmark.pedantic(turns, rounds=1)
    benchmark.extra_info.update(
        alone_s=median(alone), beside_s=median(beside), ratio=median(beside) / median(alone)
    )


def checked(pair):
    """The report of one of `tests/pairs`, as a user asks for it."""
    model, module = pair.build_keras(), pair.build_torch()
    x, y = pair.inputs(np.random.default_rng(0))
    options = {
        "pairs": getattr(pair, "PAIRS", None),
        "to_torch": getattr(pair, "to_torch", None),
        **getattr(pair, "OBJECTIVE", {}),
    }
    return compare.check_parity(model, module, x, y, weights_from="keras", **options)


def seconds(pair):
    start = time.perf_counter()
    assert checked(pair).passed
    return time.perf_counter() - start


@contextmanager
def a_busy_neighbour():
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        neighbour.kill()
        neighbour.wait()
