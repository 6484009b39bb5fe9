"""Numbers as the README rounds them."""

from __future__ import annotations

from collections.abc import Iterable


def two_digits(value: float) -> str:
    """A number to two digits, or to the unit where that is more: `0.0010`, `9.6`, `86`, `1,012`.

    Args:
        value: At least 0.
    """
    # From 9.95 on, two digits and the unit are the same.
    return f"{value:,.0f}" if value >= 9.95 else f"{value:#.2g}"


def span(values: Iterable[float]) -> str:
    """The smallest to the largest number: `4.6 to 5.1`; one where they are told alike.

    Args:
        values: At least one.
    """
    found = list(values)
    low, high = two_digits(min(found)), two_digits(max(found))
    return low if low == high else f"{low} to {high}"


def percent(share: float, *, digits: int = 0) -> str:
    """A share in hundredths: `98 %`; noise around nothing may be negative: `−0.02 %`.

    Args:
        share: Of one.
        digits: Behind the point.
    """
    # A negative number that rounds to nothing is nothing.
    found = round(100 * share, digits) + 0.0
    return f"{found:.{digits}f} %".replace("-", "−")
