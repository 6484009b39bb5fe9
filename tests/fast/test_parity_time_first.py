import numpy as np
from made_up_trace import read, written

from compare.parity.layouts import samples_first

RNG = np.random.default_rng(0)


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
