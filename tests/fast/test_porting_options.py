from typing import NamedTuple

import numpy as np
import pytest

from compare.backends.structures import leaves, mapped
from compare.errors import InputError
from compare.porting.golden import digest
from compare.porting.models import first_samples
from compare.porting.options import Options, checked

X = {"image": np.ones((4, 3, 3, 1)), "pair": (np.arange(4), np.zeros((4, 2), np.float32))}


def test_leaves_are_named_by_their_way():
    assert [name for name, _ in leaves(X, "x")] == ["x/image", "x/pair/0", "x/pair/1"]
    assert [name for name, _ in leaves(X["image"], "x")] == ["x"]


def test_floating_numbers_get_the_dtype_and_whole_ones_keep_theirs():
    found = checked("x", X, "float32")
    assert found["image"].dtype == found["pair"][1].dtype == np.float32
    assert found["pair"][0].dtype == np.int64
    assert isinstance(found["pair"], tuple)


def test_the_first_samples_of_every_array():
    assert [len(array) for _, array in leaves(first_samples(X, 2), "x")] == [2, 2, 2]


def test_a_digest_tells_values_names_shapes_and_dtypes_apart():
    others = [
        mapped(lambda a: a + 1, X),
        {**X, "image": X["image"].reshape(4, 9)},
        {**X, "image": X["image"].astype(np.float32)},
        {"picture": X["image"], "pair": X["pair"]},
    ]
    found = {digest(one, "x") for one in [X, *others]}
    assert len(found) == 5
    assert digest(X, "x") == digest(mapped(np.copy, X), "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.full((4, 2), np.inf)}, "x/image: expected finite numbers"),
        ({"image": np.array(["a"] * 4)}, "x/image: expected an array of numbers"),
        ({"image": np.empty((0, 2))}, "x/image: expected at least one sample"),
        (
            {"image": [[1.0, 2.0]]},
            r"x/image/0/0: expected an array, received float: .* np\.asarray",
        ),
        ({"image": map(abs, [1.0])}, "x/image: expected an array of numbers, received map"),
        ({"image": np.ones((5, 2))}, "as many samples in every array, received x/image 5"),
    ],
)
def test_what_is_no_sample_is_refused_by_name(change, message):
    with pytest.raises(InputError, match=message):
        checked("x", {**X, **change}, "float64")


@pytest.mark.parametrize("nothing", [[], (), {}])
def test_a_structure_without_arrays_is_refused(nothing):
    with pytest.raises(InputError, match="y: expected at least one array, received"):
        Options().request(np.zeros((4, 2)), nothing, "float64")


class Named(NamedTuple):
    left: object
    right: object


def test_a_named_tuple_stays_one():
    found = checked("x", Named(np.ones((4, 2)), np.arange(4)), "float32")
    assert isinstance(found, Named)
    assert found.left.dtype == np.float32


def test_there_are_as_many_targets_as_samples():
    with pytest.raises(InputError, match="y: expected 4 samples, as in x, received 3"):
        Options().request(np.zeros((4, 2)), np.zeros(3), "float64")
