"""Both frameworks in float64 with one thread."""

import pytest

from compare.backends import protocol
from compare.spec import FRAMEWORKS


@pytest.fixture(scope="session", params=FRAMEWORKS)
def framework_name(request):
    return request.param


@pytest.fixture(scope="session")
def framework(framework_name, both):
    """Each framework in turn, in float64."""
    return both[framework_name]


@pytest.fixture(scope="session", autouse=True)
def both():
    """Both frameworks in float64: a dictionary by name.

    For every test, used or not: TensorFlow takes its number of threads before its first operation.
    """
    return {name: _loaded(name) for name in FRAMEWORKS}


def _loaded(name):
    adapter = protocol.load(name)
    adapter.configure(dtype="float64", threads=1)
    return adapter
