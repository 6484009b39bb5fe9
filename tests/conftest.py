"""What every test needs: settings of the frameworks that a user's own files could change."""

import os
import tempfile

import pytest

# A user's own keras.json could change the dtype or the image layout.
os.environ["KERAS_HOME"] = tempfile.mkdtemp()
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="session")
def both():
    """Both frameworks in float64 with one thread: a dictionary by name."""
    from compare.backends.loading import load
    from compare.spec import FRAMEWORKS

    adapters = {name: load(name) for name in FRAMEWORKS}
    for adapter in adapters.values():
        adapter.configure(dtype="float64", threads=1)
    return adapters
