"""Both frameworks in float64 with one thread."""

import pytest

from compare.spec import FRAMEWORKS


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
