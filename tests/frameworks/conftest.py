"""Both frameworks in float64 with one thread, and trainings that several tests look at."""

from dataclasses import replace

import pytest

from compare.spec import FRAMEWORKS, VARIANTS, Run
from compare.study.runs import Outcome
from compare.study.train import execute, execute_many

ALWAYS = frozenset({"mlp-bn-after", "cnn-bn", "lstm-bn"})
"""Of a test over all variants these run every time; the others are slow tests."""

_GRIDS = ("test_study_paces", "test_parity_twins", "test_variants")
"""Modules whose tests over all variants are a grid of trainings."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of every test over variants that runs on the three, the rest is slow."""
    grids = {}
    for item in items:
        variant = item.callspec.params.get("variant") if hasattr(item, "callspec") else None
        if variant in VARIANTS and item.module.__name__.endswith(_GRIDS):
            grids.setdefault((item.module, item.originalname), []).append((variant, item))
    for cases in grids.values():
        if {variant for variant, _ in cases} >= ALWAYS:
            for variant, item in cases:
                if variant not in ALWAYS:
                    item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", params=FRAMEWORKS)
def framework_name(request):
    return request.param


@pytest.fixture(scope="session")
def framework(framework_name, both):
    """Each framework in turn, in float64."""
    return both[framework_name]


@pytest.fixture(scope="session", autouse=True)
def _configured(both):
    """For every test: TensorFlow takes its number of threads before its first operation."""


@pytest.fixture(scope="session")
def trained(both):
    """Outcomes by seed, trained once: `trained(variant, framework, settings, seeds)`."""
    done = {}

    def trained(variant, framework, settings, seed):
        """The outcome of one run at the pace of the settings."""
        if settings.pace == "idiomatic":
            key = variant, framework, replace(settings, seeds=1), seed
            if key not in done:
                done[key] = execute(Run(variant, framework, seed), settings, both[framework])
            return done[key]
        key = variant, framework, settings
        if key not in done:
            events = []
            execute_many(variant, framework, settings, both[framework], events.append)
            done[key] = [event for event in events if isinstance(event, Outcome)]
        return done[key][seed]

    return trained
