"""Sums and products of the exchange's texts are exact, or not known."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from okxsync.terminal.exact import number, product, total

AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, places=18, min_value=-(10**15), max_value=10**15)


@given(st.lists(AMOUNTS))
def test_a_sum_is_exact_in_any_order(amounts: list[Decimal]) -> None:
    found = total(map(str, amounts))
    assert found is not None
    assert Fraction(found) == sum(map(Fraction, amounts))
    assert total(map(str, reversed(amounts))) == found


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_a_product_is_exact(one: Decimal, two: Decimal, three: Decimal) -> None:
    found = product(str(one), str(two), str(three))
    assert found is not None
    assert Fraction(found) == Fraction(one) * Fraction(two) * Fraction(three)


def test_small_numbers_and_exponents_are_written_out() -> None:
    assert total(["0.000000001", "1e-9"]) == "0.000000002"
    assert product("1e3", "2") == "2000"


def test_what_is_no_number_makes_the_result_unknown() -> None:
    for text in ("", "many", "NaN", "Infinity", "1e999999999"):
        assert total(["1", text]) is None
        assert product("1", text) is None
    assert product("1", None) is None
    assert number(None) is None
    assert total([]) == "0"
