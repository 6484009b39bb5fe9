import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from made_up_trace import written

from compare.parity.layouts import in_keras_order, nearest, orders

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
