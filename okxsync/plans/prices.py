"""Prices of a plan: expressions, ticks, bands, and the trigger prices of take-profit and stop-loss.

A price is never worse than stated: a buy is rounded down to the tick, a sell up.
"""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal, TypeAlias

import msgspec

from okxsync.config.units import number, one_of, percent
from okxsync.plans.children import plain

Side: TypeAlias = Literal["buy", "sell"]
Base: TypeAlias = Literal["mark", "last", "bid", "ask", "index"]

BASES: Final[tuple[Base, ...]] = ("mark", "last", "bid", "ask", "index")
MAX_AGE_MS: Final = 2_000
"""Of a reference price when it is used."""
_EXPRESSION: Final = re.compile(r"(mark|last|bid|ask|index)(?:\s*([+-])\s*([0-9.]+\s*%?))?")
_USE: Final = 'use "67000.5", or mark, last, bid, ask or index with an offset: "mark +0.3%", "bid -0.5"'


class Price(msgspec.Struct, frozen=True):
    """A price as a plan states it.

    Attributes:
        base: What it is relative to; None: ``offset`` is the price itself.
        offset: Added to the base; a share of it if ``relative``.
    """

    base: Base | None
    offset: Decimal
    relative: bool = False


class Offset(msgspec.Struct, frozen=True):
    """A trigger price: a share added to the price of the order, or the price itself."""

    value: Decimal
    relative: bool


class Quotes(msgspec.Struct, frozen=True):
    """Prices of an instrument on one site, as of ``at_ms``; None: not known.

    ``buy_limit`` and ``sell_limit`` are the exchange's highest buy and lowest sell price; None: no limit.
    """

    mark: Decimal | None = None
    last: Decimal | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    index: Decimal | None = None
    buy_limit: Decimal | None = None
    sell_limit: Decimal | None = None
    at_ms: int = 0

    def of(self, base: Base | None) -> Decimal | None:
        """Return a base; for None the mark price, else the last one: spot pairs without margin have no mark price."""
        if base is None:
            return self.last if self.mark is None else self.mark
        found: Decimal | None = getattr(self, base)
        return found


def parse_price(text: str | int) -> Price:
    """Return what a price expression says. Raises ValueError."""
    source = str(text).strip()
    if not (found := _EXPRESSION.fullmatch(source)):
        try:
            price = number(source)
        except ValueError:
            raise ValueError(f'invalid price "{text}"; {_USE}') from None
        if price <= 0:
            raise ValueError(f'price "{text}" must be above 0')
        return Price(None, price)
    base = one_of(found[1], BASES)
    sign, amount = found[2], found[3]
    if amount is None:
        return Price(base, Decimal(0), True)
    try:
        relative = amount.endswith("%")
        value = percent(amount) if relative else number(amount)
    except ValueError:
        raise ValueError(f'invalid price "{text}"; {_USE}') from None
    return Price(base, -value if sign == "-" else value, relative)


def price_text(price: Price) -> str:
    """Return the canonical expression; the opposite of ``parse_price``."""
    if price.base is None:
        return plain(price.offset)
    if not price.offset:
        return price.base
    return f"{price.base} {_signed(price.offset, price.relative)}"


def parse_offset(text: str | int) -> Offset:
    """Return a trigger price: ``+4%``, ``-2%``, or a price. Raises ValueError."""
    source = str(text).strip()
    if source.endswith("%"):
        return Offset(percent(source), True)
    if (value := number(source)) <= 0:
        raise ValueError(f'price "{text}" must be above 0')
    return Offset(value, False)


def offset_text(offset: Offset) -> str:
    """Return the canonical text; the opposite of ``parse_offset``."""
    return _signed(offset.value, True) if offset.relative else plain(offset.value)


def _signed(value: Decimal, relative: bool) -> str:
    amount = f"{plain(abs(value).scaleb(2))}%" if relative else plain(abs(value))
    return f"{'-' if value < 0 else '+'}{amount}"


def order_price(price: Price, reference: Decimal, side: Side, tick: Decimal, *, aggressive: bool = False) -> Decimal:
    """Return the price of an order, on the tick; not above 0 if the offset is too large.

    Args:
        price: The expression.
        reference: The current price of its base.
        side: Of the order.
        tick: The smallest step.
        aggressive: A positive offset means worse for us: above the base for a buy, below it for a sell.
    """
    if price.base is None:
        return round_price(Fraction(price.offset), side, tick)
    offset = -price.offset if aggressive and side == "sell" else price.offset
    base = Fraction(reference)
    return round_price(base * (1 + Fraction(offset)) if price.relative else base + Fraction(offset), side, tick)


def round_price(price: Fraction, side: Side, tick: Decimal) -> Decimal:
    """Return the price on the tick: a buy down, a sell up."""
    ticks = price / Fraction(tick)
    return tick * (ticks.__floor__() if side == "buy" else ticks.__ceil__())


def why_outside(px: Decimal, side: Side, quotes: Quotes, band: Decimal) -> str:
    """Return why an order price is outside the own band around the mark price, or outside the exchange's; or ``""``.

    Without a mark price the band is around the last price.
    """
    if px <= 0:
        return f"the price {plain(px)} is not above 0"
    middle = quotes.of(None)
    if middle is not None and abs(Fraction(px) - Fraction(middle)) > Fraction(middle) * Fraction(band):
        name = "last" if quotes.mark is None else "mark"
        return f"{plain(px)} is not within {plain(band.scaleb(2))}% of the {name} price {plain(middle)}"
    if side == "buy" and quotes.buy_limit is not None and px > quotes.buy_limit:
        return f"{plain(px)} is above the exchange's highest buy price {plain(quotes.buy_limit)}"
    if side == "sell" and quotes.sell_limit is not None and px < quotes.sell_limit:
        return f"{plain(px)} is below the exchange's lowest sell price {plain(quotes.sell_limit)}"
    return ""


def trigger_price(offset: Offset, px: Decimal, side: Side, tick: Decimal, *, in_favour: bool = False) -> Decimal:
    """Return a trigger price on the tick.

    The order that it triggers has the other side, so it is rounded up for a buy.

    Args:
        offset: As the plan has it.
        px: The price of the order that it protects.
        side: Of that order.
        tick: The smallest step.
        in_favour: A positive offset means a profit: below the price for a sell.
    """
    closing: Side = "sell" if side == "buy" else "buy"
    if not offset.relative:
        return round_price(Fraction(offset.value), closing, tick)
    share = Fraction(-offset.value if in_favour and side == "sell" else offset.value)
    return round_price(Fraction(px) * (1 + share), closing, tick)


def why_wrong_side(
    side: Side, px: Decimal, take_profit: Decimal | None, stop_loss: Decimal | None, current: Decimal | None
) -> str:
    """Return why OKX would reject the trigger prices (51046 to 51053, 51277 to 51280, 51300 to 51308); or ``""``.

    Args:
        side: Of the order that they protect.
        px: Its price.
        take_profit: Its trigger price.
        stop_loss: Its trigger price.
        current: The present price of the kind that triggers.
    """
    for name, trigger, above in (
        ("take_profit", take_profit, side == "buy"),
        ("stop_loss", stop_loss, side == "sell"),
    ):
        if trigger is None:
            continue
        if trigger <= 0:
            return f"{name} {plain(trigger)} is not above 0"
        for what, other in (("price", px), ("present price", current)):
            if other is not None and (trigger <= other if above else trigger >= other):
                return f"{name} {plain(trigger)} must be {'above' if above else 'below'} the {what} {plain(other)}"
    return ""
