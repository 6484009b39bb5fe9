"""What every test needs: settings of the frameworks that a user's own files could change."""

import os
import tempfile

import pytest

# A user's own keras.json could change the dtype or the image layout.
os.environ["KERAS_HOME"] = tempfile.mkdtemp()
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of a test that is `sampled(n)`, n cases from all over it run every time; the rest is slow."""
    tests = {}
    for item in items:
        if marker := item.get_closest_marker("sampled"):
            tests.setdefault((item.module, item.originalname, *marker.args), []).append(item)
    for (*_, number), cases in tests.items():
        kept = {round(case * (len(cases) - 1) / max(number - 1, 1)) for case in range(number)}
        for at, item in enumerate(cases):
            if at not in kept:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def both():
    """Both frameworks in float64 with one thread: a dictionary by name."""
    from compare.backends.loading import load
    from compare.spec import FRAMEWORKS

    adapters = {name: load(name) for name in FRAMEWORKS}
    for adapter in adapters.values():
        adapter.configure(dtype="float64", threads=1)
    return adapters
