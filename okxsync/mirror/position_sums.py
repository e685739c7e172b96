"""Whether a position is the sum of its fills.

A fill does not name its position. OKX has one position per instrument, margin mode and side, and for margin trading per
margin currency (positions channel). The mode and the currency of a fill are those of its order. A position id survives
a full close and is used again within 30 days, and OKX does not say whether ``cTime`` is renewed then: fills are added
up from ``cTime`` on, which is right in both cases.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from okxsync.mirror.rows import Position

APART: Final = timedelta(seconds=1)
"""By how much OKX's tables may differ in the time of one event; milliseconds were seen."""


class Execution(NamedTuple):
    """A fill with the margin mode and the margin currency of its order (None: not known).

    ``closes``: whether it has a profit or loss, so that it closed a position at least in part.
    """

    at: datetime
    inst_type: str | None
    mgn_mode: str | None
    pos_side: str
    ccy: str | None
    buys: bool
    sz: Decimal
    px: Decimal | None
    fee: Decimal
    fee_ccy: str | None
    closes: bool


def side_of(pos_side: str | None) -> str:
    """Return the side of a position; OKX sends ``net`` or nothing in net mode."""
    return pos_side or "net"


def own_fills(
    position: Position, fills: Sequence[Execution], others: Collection[Position]
) -> tuple[Execution, ...] | None:
    """Return the fills of a position in the order of time, or None if some fill may be of one of the ``others``.

    Args:
        fills: All of its instrument.
        others: The other positions of its instrument, also closed ones.
    """
    side = side_of(position.pos_side)
    is_margin = position.inst_type == "MARGIN"
    same_side = [one for one in others if one.inst_type == position.inst_type and side_of(one.pos_side) == side]
    found = []
    for fill in fills:
        if fill.inst_type not in (None, position.inst_type) or fill.pos_side != side:
            continue
        if fill.mgn_mode is None:
            if any(one.mgn_mode != position.mgn_mode for one in same_side):
                return None
        elif fill.mgn_mode != position.mgn_mode:
            continue
        if is_margin:
            if fill.ccy is None:
                if any(one.mgn_mode == position.mgn_mode and one.ccy != position.ccy for one in same_side):
                    return None
            elif position.ccy is not None and fill.ccy != position.ccy:
                continue
        found.append(fill)
    return tuple(sorted(found, key=lambda fill: fill.at))


def difference(position: Position, fills: Sequence[Execution]) -> Decimal | None:
    """Return the sum of a position's fills if it is not the position's size, else None.

    Args:
        position: It has a size and ``c_time``.
        fills: In the order of time, all since its ``c_time``; earlier ones do not matter.
    """
    assert position.pos is not None
    assert position.c_time is not None
    begin = sum(1 for fill in fills if fill.at < position.c_time)
    first = sum(1 for fill in fills if fill.at < position.c_time - APART)
    last = sum(1 for fill in fills if fill.at <= position.c_time + APART)
    for index in (begin, *range(first, last)):
        if any(_is_size(position, size) for size in _sizes(position, fills, index)):
            return None
    return next(_sizes(position, fills, begin), None)


def _is_size(position: Position, size: Decimal) -> bool:
    in_net_mode = side_of(position.pos_side) == "net" and position.inst_type != "MARGIN"
    return position.pos == size if in_net_mode else abs(position.pos or 0) == size


def _sizes(position: Position, fills: Sequence[Execution], begin: int) -> Iterator[Decimal]:
    """Yield the sizes that a position may have that the fill at ``begin`` has opened; nothing if none is known."""
    for parts in _parts(position, fills[begin:]):
        yield sum(parts, Decimal(0))
        if parts and position.pos is not None and side_of(position.pos_side) == "net" and _may_turn(fills, begin):
            # The first fill has closed an opposite position; only its rest opened this one.
            rest = position.pos - sum(parts[1:], Decimal(0))
            if parts[0] and 0 < rest / parts[0] < 1:
                yield position.pos


def _may_turn(fills: Sequence[Execution], index: int) -> bool:
    """Whether a fill may have closed an opposite position: at a profit or loss, or at the price of its opening."""
    fill = fills[index]
    at_its_price = (one for one in fills[:index] if one.px is not None and one.px == fill.px)
    return fill.closes or any(one.buys != fill.buys for one in at_its_price)


def _parts(position: Position, fills: Sequence[Execution]) -> Iterator[list[Decimal]]:
    """Yield what each fill adds to the size of a position, in each way that it may be counted."""
    if position.inst_type == "MARGIN":
        yield from _margin_parts(position, fills)
    else:
        sign = -1 if side_of(position.pos_side) == "short" else 1
        yield [sign * _signed(fill) for fill in fills]


def _margin_parts(position: Position, fills: Sequence[Execution]) -> Iterator[list[Decimal]]:
    """Yield the same of a margin position, which is counted in ``posCcy``: long in the base currency, short in the
    quote currency.

    A fee in that currency reduces the size; a reported example of a short position has the size without it. How a
    buy that closes a part of a short position changes it is not documented.
    """
    base, _, quote = (position.inst_id or "").partition("-")
    if position.pos_ccy == base:
        parts = [_signed(fill) for fill in fills]
    elif position.pos_ccy == quote and not any(fill.buys or fill.px is None for fill in fills):
        parts = [fill.sz * (fill.px or 0) for fill in fills]
    else:
        return
    yield parts
    fees = [fill.fee if fill.fee_ccy == position.pos_ccy else Decimal(0) for fill in fills]
    yield [part + fee for part, fee in zip(parts, fees, strict=True)]


def _signed(fill: Execution) -> Decimal:
    return fill.sz if fill.buys else -fill.sz
