"""The stored noise floor of float32 holds on this machine."""

import float32_floors
import pytest

from compare.backends.loading import load
from compare.parity import tolerances

pytestmark = pytest.mark.slow


def test_the_stored_floor_is_not_below_what_keras_shows_against_itself():
    keras = load("keras")
    keras.configure(dtype="float32", threads=1)
    stored = tolerances.floors()
    # A single loss may be rounded alike by chance.
    for rung, floor in float32_floors.measure(keras, ("mlp-bn-after", "cnn"), seeds=4).items():
        assert 0 < floor <= stored[rung], "the stored floor is the largest of 20 seeds"
