import numpy as np
import pytest
from made_up_trace import written

from compare.parity.layouts import without_borders

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(2, 5, 5, 3))


def cut(tmp_path, kind, end, keras, torch):
    """What is read of an end of a layer on both sides."""
    layers = [{"name": "layer", "kind": kind, "tensors": {}, "trained": 1}]
    keys = [f"{passes}/layer/{end}" for passes in ("training", "evaluation", "backward")]
    sides = [
        written(tmp_path / str(number), dict.fromkeys(keys, array), layers)
        for number, array in enumerate((keras, torch))
    ]
    found = without_borders(*sides)
    assert all(np.array_equal(side[keys[0]], side[key]) for side in found for key in keys)
    return [side[keys[0]] for side in found]


def padded(before, after, value=0.0):
    widths = [(0, 0), (before, after), (before, after), (0, 0)]
    return np.pad(IMAGE, widths, constant_values=value)


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 1), (3, 0)])
def test_zeros_that_one_side_pads_before_a_convolution_are_cut_off(tmp_path, before, after):
    for number, sides in enumerate(
        [(IMAGE, padded(before, after)), (padded(before, after), IMAGE)]
    ):
        keras, torch = cut(tmp_path / str(number), "conv", "input", *sides)
        assert np.array_equal(keras, IMAGE)
        assert np.array_equal(torch, IMAGE)


def test_a_border_that_is_not_zero_stays_to_be_found(tmp_path):
    _, torch = cut(tmp_path, "conv", "input", IMAGE, padded(0, 1, 0.5))
    assert torch.shape == (2, 6, 6, 3)


def test_what_follows_a_transposed_convolution_may_crop_anything(tmp_path):
    _, torch = cut(tmp_path, "conv_transpose", "output", IMAGE, padded(1, 2, 0.5))
    assert np.array_equal(torch, IMAGE)


def test_other_ends_and_other_samples_are_left_alone(tmp_path):
    _, torch = cut(tmp_path / "a", "conv", "output", IMAGE, padded(0, 1))
    assert torch.shape == (2, 6, 6, 3)
    _, torch = cut(tmp_path / "b", "conv", "input", IMAGE, padded(0, 1)[:1])
    assert torch.shape == (1, 6, 6, 3)
