"""Price expressions, ticks, bands and trigger prices."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okxsync.plans.prices import (
    BASES,
    Offset,
    Price,
    Quotes,
    Side,
    offset_text,
    order_price,
    parse_offset,
    parse_price,
    price_text,
    round_price,
    trigger_price,
    why_outside,
    why_wrong_side,
)

MARK = Decimal("67012.3")
TENTH = Decimal("0.1")
SIDES: st.SearchStrategy[Side] = st.sampled_from(["buy", "sell"])
TICKS = st.sampled_from([Decimal(t) for t in ("0.1", "0.01", "0.05", "0.25", "1", "5", "0.00000001")])
AMOUNTS = st.decimals("0.0001", "1000000", places=4)


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("67000.5", Price(None, Decimal("67000.5"))),
        (67000, Price(None, Decimal(67000))),
        ("mark", Price("mark", Decimal(0), True)),
        ("mark +0.3%", Price("mark", Decimal("0.003"), True)),
        ("last-0.3%", Price("last", Decimal("-0.003"), True)),
        ("bid - 0.5", Price("bid", Decimal("-0.5"))),
        ("ask +12", Price("ask", Decimal(12))),
        ("index  +1 %", Price("index", Decimal("0.01"), True)),
    ],
)
def test_expressions(text: str | int, price: Price) -> None:
    assert parse_price(text) == price
    assert parse_price(price_text(price)) == price


@pytest.mark.parametrize("text", ["", "mid", "mark 0.3%", "mark +", "mark +x", "mark ++1", "1e5", "mark*1.1", "nan"])
def test_an_invalid_expression_names_the_valid_ones(text: str) -> None:
    with pytest.raises(ValueError, match=r"use .67000\.5., or mark, last, bid, ask or index"):
        parse_price(text)


@pytest.mark.parametrize("text", ["0", "-5"])
def test_a_price_is_above_zero(text: str) -> None:
    with pytest.raises(ValueError, match="above 0"):
        parse_price(text)
    with pytest.raises(ValueError, match="above 0"):
        parse_offset(text)


@given(base=st.sampled_from([None, *BASES]), offset=st.decimals("-5", "5", places=6), relative=st.booleans())
def test_the_canonical_text_reads_back(base: str | None, offset: Decimal, relative: bool) -> None:
    price = Price(base, offset, relative or not offset) if base else Price(None, abs(offset) + 1)  # type: ignore[arg-type]
    assert parse_price(price_text(price)) == price
    if relative:
        assert parse_offset(offset_text(Offset(offset, True))) == Offset(offset, True)


def test_the_vectors() -> None:
    """T 8, vector 4: a cap of 0.3 % above and below 67012.3 with a tick of 0.1."""
    assert order_price(parse_price("mark +0.3%"), MARK, "buy", TENTH) == Decimal("67213.3")
    assert order_price(parse_price("mark -0.3%"), MARK, "sell", TENTH) == Decimal("66811.3")


def test_aggressiveness_has_the_sign_of_the_side() -> None:
    price = parse_price("mark +0.3%")
    assert order_price(price, MARK, "buy", TENTH, aggressive=True) == Decimal("67213.3")
    assert order_price(price, MARK, "sell", TENTH, aggressive=True) == Decimal("66811.3")
    assert order_price(parse_price("mark +5"), MARK, "sell", TENTH, aggressive=True) == Decimal("67007.3")
    assert order_price(parse_price("67000"), MARK, "sell", TENTH, aggressive=True) == 67000


@given(price=AMOUNTS, side=SIDES, tick=TICKS)
def test_a_price_is_on_the_tick_and_never_worse_than_stated(price: Decimal, side: Side, tick: Decimal) -> None:
    rounded = round_price(Fraction(price), side, tick)
    assert (Fraction(rounded) / Fraction(tick)).denominator == 1
    assert abs(Fraction(rounded) - Fraction(price)) < Fraction(tick)
    assert rounded <= price if side == "buy" else rounded >= price


def test_bands() -> None:
    band = Decimal("0.02")
    quotes = Quotes(mark=Decimal(100), last=Decimal(90), buy_limit=Decimal(101), sell_limit=Decimal(99))
    assert why_outside(Decimal(101), "buy", quotes, band) == ""
    assert why_outside(Decimal("101.1"), "buy", quotes, band) == "101.1 is above the exchange's highest buy price 101"
    assert why_outside(Decimal("98.9"), "sell", quotes, band) == "98.9 is below the exchange's lowest sell price 99"
    assert why_outside(Decimal("101.1"), "sell", quotes, band) == ""
    assert why_outside(Decimal("102.1"), "sell", quotes, band) == "102.1 is not within 2% of the mark price 100"
    assert why_outside(Decimal("97.9"), "buy", quotes, band) == "97.9 is not within 2% of the mark price 100"
    assert "last price 90" in why_outside(Decimal(100), "buy", Quotes(last=Decimal(90)), band)
    assert "not above 0" in why_outside(Decimal(0), "buy", quotes, Decimal(1))


def test_trigger_prices() -> None:
    up, down = parse_offset("+4%"), parse_offset("-2%")
    px = Decimal("67213.3")
    assert trigger_price(up, px, "buy", TENTH) == Decimal("69901.9")  # 69901.832, closed by a sell: up
    assert trigger_price(down, px, "buy", TENTH) == Decimal("65869.1")  # 65869.034
    assert trigger_price(down, px, "sell", TENTH) == Decimal("65869")
    assert trigger_price(up, px, "sell", TENTH, in_favour=True) == Decimal("64524.7")  # 64524.768
    assert trigger_price(parse_offset("70000"), px, "sell", TENTH, in_favour=True) == 70000


@pytest.mark.parametrize(
    ("side", "take_profit", "stop_loss", "says"),
    [
        ("buy", "104", "98", ""),
        ("sell", "96", "102", ""),
        ("buy", "100", None, "take_profit 100 must be above the price 100"),
        ("buy", None, "100", "stop_loss 100 must be below the price 100"),
        ("sell", "100", None, "take_profit 100 must be below the price 100"),
        ("sell", None, "100", "stop_loss 100 must be above the price 100"),
        ("buy", "100.5", None, "take_profit 100.5 must be above the present price 101"),
        ("sell", None, "100.5", "stop_loss 100.5 must be above the present price 101"),
        ("buy", None, "0", "stop_loss 0 is not above 0"),
    ],
)
def test_a_trigger_on_the_wrong_side_is_found(
    side: Side, take_profit: str | None, stop_loss: str | None, says: str
) -> None:
    above, below = (None if text is None else Decimal(text) for text in (take_profit, stop_loss))
    assert why_wrong_side(side, Decimal(100), above, below, Decimal(101)) == says
