import pytest

from compare.readme.numbers import percent, span, two_digits


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.00098, "0.00098"),
        (0.001, "0.0010"),
        (0.0421, "0.042"),
        (4.63, "4.6"),
        (5.0, "5.0"),
        (9.949, "9.9"),
        (9.951, "10"),
        (85.54, "86"),
        (1011.7, "1,012"),
    ],
)
def test_numbers_have_two_digits_or_reach_the_unit(value, told):
    assert two_digits(value) == told


def test_a_span_is_one_number_where_its_ends_are_told_alike():
    assert span([5.1, 4.63, 4.9]) == "4.6 to 5.1"
    assert span([4.61, 4.63]) == "4.6"


@pytest.mark.parametrize(
    ("share", "told"), [(0.9817, "98.17 %"), (-2e-4, "−0.02 %"), (-2e-5, "0.00 %")]
)
def test_a_share_that_rounds_to_nothing_has_no_sign(share, told):
    assert percent(share, digits=2) == told
    assert percent(0.556) == "56 %"
