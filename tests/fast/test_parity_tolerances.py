import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compare.parity.tolerances import gap

ANY = st.floats(width=64)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@st.composite
def pairs(draw, elements=ANY):
    shape = draw(SHAPES)
    array = hnp.arrays(np.float64, shape, elements=elements)
    return draw(array), draw(array)


def test_equal_arrays_have_no_gap():
    found = gap(np.array([1.0, -2.0]), np.array([1.0, -2.0]))
    assert (found.max_abs, found.max_rel, found.required) == (0.0, 0.0, 0.0)
    assert found.within(0.0)


def test_the_largest_difference_is_found_with_its_place_and_values():
    keras, torch = np.zeros((2, 3)), np.zeros((2, 3))
    keras[1, 2], torch[1, 2], torch[0, 0] = 4.0, 4.5, 0.25
    found = gap(keras, torch)
    assert (found.max_abs, found.index, found.keras, found.torch) == (0.5, (1, 2), 4.0, 4.5)
    assert found.where() == "[1, 2] Keras 4, Torch 4.5"


def test_relative_differences_skip_zeros():
    assert gap(np.array([0.0, 2.0]), np.array([1.0, 3.0])).max_rel == 0.5
    assert gap(np.zeros(2), np.array([0.0, 1.0])).max_rel == math.inf
    assert gap(np.zeros(2), np.zeros(2)).max_rel == 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("sides", ["keras", "torch", "both"])
def test_what_is_not_finite_never_passes(value, sides):
    keras, torch = np.ones(3), np.ones(3)
    if sides != "torch":
        keras[1] = value
    if sides != "keras":
        torch[1] = value
    found = gap(keras, torch)
    assert not found.within(1e300)
    assert found.index == (1,)


def test_nan_is_found_beside_a_larger_difference():
    found = gap(np.array([0.0, math.nan]), np.array([1e9, 0.0]))
    assert found.index == (1,)
    assert math.isnan(found.max_abs)


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (4,), (), (3, 0)])
def test_shapes_are_never_broadcast(shape):
    found = gap(np.ones(3), np.ones(shape))
    assert found.required == math.inf
    assert not found.within(1e300)
    assert str(shape) in found.where()


def test_a_tolerance_grows_with_the_values_and_never_shrinks():
    assert gap(np.array([100.0, 0.0]), np.array([100.0, 1.0])).required == 0.01
    assert gap(np.array([1e-9]), np.array([2e-9])).scale == 1.0


def test_single_precision_is_compared_in_double():
    found = gap(np.float32([0.1]), np.array([0.1]))
    assert found.max_abs == abs(float(np.float32(0.1)) - 0.1)


# Subnormal numbers have no 1e-12 of themselves.
@given(pairs(st.floats(-1e6, 1e6, allow_subnormal=False)))
def test_required_is_the_tolerance_that_would_have_passed(pair):
    found = gap(*pair)
    # One unit in the last place: required is a quotient that is multiplied again.
    assert found.within(found.required * (1 + 1e-15))
    if found.required > 0:
        assert not found.within(found.required * (1 - 1e-12))


@given(pairs())
def test_it_passes_exactly_where_every_element_does(pair):
    keras, torch = pair
    with np.errstate(invalid="ignore", over="ignore"):
        close = np.abs(keras - torch) <= 1e-3 * max(1.0, np.abs(keras).max(initial=0.0))
    finite = np.isfinite(keras).all() and np.isfinite(torch).all()
    if finite:
        assert gap(keras, torch).within(1e-3) == bool(close.all())
    else:
        assert not gap(keras, torch).within(1e-3)
