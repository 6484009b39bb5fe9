import numpy as np
import pytest
from sklearn.metrics import log_loss

from compare.study.runs import accuracy, binary_cross_entropy, first_crossing


def test_exactly_one_half_counts_as_class_zero():
    label = np.array([0.0, 1.0])
    assert accuracy(np.array([0.5, 0.5]), label) == 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_is_scikit_learns(dtype):
    rng = np.random.default_rng(0)
    probability = rng.uniform(size=100).astype(dtype)
    probability[:2] = 0.0, 1.0
    label = rng.integers(0, 2, 100).astype(dtype)
    expected = log_loss(label, np.column_stack([1 - probability, probability]).astype(dtype))
    assert binary_cross_entropy(probability, label) == pytest.approx(expected, rel=1e-6)


def test_nan_is_never_right_and_never_hidden():
    probability, label = np.array([np.nan, 0.9]), np.array([0.0, 1.0])
    assert accuracy(probability, label) == 0.5
    assert accuracy(probability, 1 - label) == 0.0
    assert np.isnan(binary_cross_entropy(probability, label))


def test_first_crossing_counts_from_one_and_includes_the_target():
    assert first_crossing([0.5, 0.8, 0.7], 0.8) == 2
    assert first_crossing([0.5, 0.7], 0.8) is None
    assert first_crossing([float("nan"), 0.9], 0.8) == 2
