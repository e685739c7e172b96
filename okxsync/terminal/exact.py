"""Exact arithmetic with the exchange's texts: a result is exact, or it is not known."""

from collections.abc import Iterable
from decimal import Context, Decimal, DecimalException, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Final

_EXACT: Final = Context(prec=200, traps=[Inexact, InvalidOperation, Overflow, DivisionByZero])
"""Two hundred digits hold every sum of real amounts. What needs more is not rounded: it is not known."""


def number(text: str | None) -> Decimal | None:
    """Return the number of a text; None if it is none, or is not finite."""
    try:
        found = Decimal(text) if text else None
    except (DecimalException, ValueError):
        return None
    return found if found is not None and found.is_finite() else None


def total(texts: Iterable[str]) -> str | None:
    """Return the sum; None if one text is no number."""
    found = Decimal(0)
    try:
        for text in texts:
            if (value := number(text)) is None:
                return None
            found = _EXACT.add(found, value)
    except DecimalException:
        return None
    return plain(found)


def product(*texts: str | None) -> str | None:
    """Return the product; None if one factor is absent or no number."""
    found = Decimal(1)
    try:
        for text in texts:
            if (value := number(text)) is None:
                return None
            found = _EXACT.multiply(found, value)
    except DecimalException:
        return None
    return plain(found)


def plain(value: Decimal) -> str | None:
    """Return a number without exponent; None if that would be longer than any real amount."""
    exponent = value.as_tuple().exponent
    return f"{value:f}" if isinstance(exponent, int) and abs(exponent) <= 200 else None
