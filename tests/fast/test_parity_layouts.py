"""Torch's arrays read in Keras' layout where the arrays prove it, and left alone otherwise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_trace import read, written

from compare.parity.layouts import (
    channels_last,
    in_keras_order,
    nearest,
    orders,
    samples_first,
    without_borders,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(4, 3, 5, 6))
"""(n, height, width, channels)"""
TABLE = RNG.normal(size=(4, 7))


def flat(images):
    return images.reshape(len(images), -1)


def channels_first(images):
    return flat(images.transpose(0, 3, 1, 2))


@given(st.integers(1, 6), st.integers(1, 40))
def test_every_order_is_a_permutation(channels, features):
    found = list(orders(features, [channels]))
    assert all(np.array_equal(np.sort(order), np.arange(features)) for order in found)


def test_the_order_of_a_flattened_image_is_found():
    order = nearest(flat(IMAGES), channels_first(IMAGES), [6])
    assert np.array_equal(flat(IMAGES)[:, order], channels_first(IMAGES))


def test_it_is_found_through_what_rounds_or_differs_a_little():
    blurred = channels_first(IMAGES) + 0.01 * RNG.normal(size=(4, 90))
    order = nearest(flat(IMAGES), blurred, [6])
    assert np.array_equal(flat(IMAGES)[:, order], channels_first(IMAGES))


def test_an_image_may_be_a_part_of_the_features():
    for side in (1, -1):
        keras = np.hstack([flat(IMAGES), TABLE][::side])
        torch = np.hstack([channels_first(IMAGES), TABLE][::side])
        assert np.array_equal(keras[:, nearest(keras, torch, [6])], torch)


def test_keras_own_order_and_another_network_are_left_alone():
    assert nearest(flat(IMAGES), flat(IMAGES), [6]) is None
    assert nearest(flat(IMAGES), RNG.normal(size=(4, 90)), [6]) is None
    assert nearest(flat(IMAGES), np.empty((4, 89)), [6]) is None


def traces(tmp_path, torch_kernel, torch_input):
    layers = [
        {"name": "conv", "kind": "conv", "tensors": {}, "trained": 1},
        {"name": "head", "kind": "dense", "tensors": {}, "trained": 1},
    ]
    kernel = np.arange(180.0).reshape(90, 2)
    keras = {
        "training/conv/output": IMAGES,
        "training/head/input": flat(IMAGES),
        "initial/head/kernel": kernel,
        "initial/other/head/kernel": kernel,
    }
    order = nearest(flat(IMAGES), channels_first(IMAGES), [6])
    torch = {
        **keras,
        "training/head/input": torch_input,
        "initial/head/kernel": kernel[order] if torch_kernel else kernel,
        "step/1/slots/head/kernel/velocity": kernel[order],
        "backward/head/input": torch_input,
    }
    one = written(tmp_path / "k", keras, layers)
    return one, in_keras_order(one, written(tmp_path / "t", torch, layers))


def test_a_kernel_in_torch_s_order_is_read_in_keras(tmp_path):
    keras, torch = traces(tmp_path, True, channels_first(IMAGES))
    kernel = keras["initial/head/kernel"]
    for key in ("initial/head/kernel", "step/1/slots/head/kernel/velocity"):
        assert np.array_equal(torch[key], kernel)
    for key in ("training/head/input", "backward/head/input"):
        assert np.array_equal(torch[key], flat(IMAGES))
    assert np.array_equal(torch["initial/other/head/kernel"], kernel)


def test_a_wrong_order_stays_to_be_found(tmp_path):
    keras, torch = traces(tmp_path, False, channels_first(IMAGES))
    assert not np.allclose(torch["training/head/input"], keras["training/head/input"])
    keras, torch = traces(tmp_path / "b", True, flat(IMAGES))
    assert not np.allclose(torch["training/head/input"], keras["training/head/input"])


def test_time_first_is_read_samples_first(tmp_path):
    for number, steps in enumerate((5, 3)):  # as many steps as samples, too
        keras = RNG.normal(size=(3, steps, 2))
        torch = read(samples_first, tmp_path / str(number), "dense", keras, keras.swapaxes(0, 1))
        assert np.array_equal(torch, keras)


def test_what_differs_and_what_knows_its_time_axis_stay(tmp_path):
    keras, other = RNG.normal(size=(2, 3, 3, 2))
    assert np.array_equal(read(samples_first, tmp_path / "a", "dense", keras, other), other)
    swapped = RNG.normal(size=(3, 5, 2))
    torch = read(samples_first, tmp_path / "b", "lstm", swapped, swapped.swapaxes(0, 1))
    assert torch.shape == (5, 3, 2)


def test_a_view_is_of_what_another_view_reads(tmp_path):
    array = RNG.normal(size=(5, 3, 2))
    trace = written(tmp_path, {"training/layer/input": array})
    swapped = trace.viewed({"training/layer/input": lambda a: a.swapaxes(0, 1)})
    both = swapped.viewed({"training/layer/input": lambda a: a[..., ::-1]})
    found = both["training/layer/input"]
    assert np.array_equal(found, array.swapaxes(0, 1)[..., ::-1])
    assert np.array_equal(swapped["training/layer/input"], array.swapaxes(0, 1))


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 3, 3, 3), (2, 5, 3)])
def test_channels_of_a_layer_of_ones_own_are_read_last(tmp_path, shape):
    image = RNG.normal(size=shape)
    assert np.array_equal(
        read(channels_last, tmp_path, "Mine", image, np.moveaxis(image, -1, 1)), image
    )


def test_what_differs_and_what_is_recorded_so_stay(tmp_path):
    image, other = RNG.normal(size=(2, 2, 3, 3, 3))
    assert np.array_equal(read(channels_last, tmp_path / "a", "Mine", image, other), other)
    first = np.moveaxis(image, -1, 1)
    assert np.array_equal(read(channels_last, tmp_path / "b", "dense", image, first), first)


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
