"""Checks the tables against each other, from the database alone.

For every account: the fills of an order sum to its filled size, every fill has its order, a position is the sum of its
fills since it was opened, and each bill's balance is the previous balance plus its change; the last one is the stored
balance. A check spans only times of which everything is stored (see ``mirror.known``).
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any, Final

import msgspec

from okxsync.config.location import Location
from okxsync.mirror.bill_chain import Break, Chain, Change, breaks_of
from okxsync.mirror.kinds import BALANCES, BILLS, FILLS, ORDERS, POSITIONS, Kind
from okxsync.mirror.known import Known, Span
from okxsync.mirror.position_sums import APART, Execution, difference, own_fills, side_of
from okxsync.mirror.reader import Mirror
from okxsync.mirror.rows import Balance, Bill, Fill, Order, Position
from okxsync.okx.endpoints import REST_LAG_S
from okxsync.okx.fill_ids import belongs_to_order
from okxsync.store.tables import NOT_FOUND

LAG: Final = timedelta(seconds=REST_LAG_S)
"""Channels and REST report one event at different times; what is newer than this is not compared."""
DIGITS: Final = 100
"""Sums are exact: an amount of a token with 18 decimal places has more digits than the 28 of Python's default."""


class Difference(msgspec.Struct, frozen=True):
    """A difference between two sources; ``column`` is empty if one of them lacks the record."""

    account: str
    table: str
    key: str
    column: str
    ours: str | None
    theirs: str | None


def check_ledger(location: Location, accounts: Iterable[str]) -> list[Difference]:
    """Return the differences in a database, see ``differences``.

    Raises:
        StoreError: the database cannot be read.
    """
    with Mirror(location) as mirror:
        return differences(mirror, accounts)


def differences(mirror: Mirror, accounts: Iterable[str]) -> list[Difference]:
    """Return the differences by account; ``theirs`` is the sum.

    Raises:
        StoreError: the database cannot be read.
    """
    with mirror.snapshot() as now, localcontext(prec=DIGITS):
        return [found for account in accounts for found in _check(mirror, account, now)]


def _check(mirror: Mirror, account: str, now: datetime) -> Iterator[Difference]:
    def read(kind: Kind) -> Iterator[Any]:
        return mirror.each(kind, account)

    known = mirror.known(account)
    positions: list[Position] = list(read(POSITIONS))
    to_sum = {one.inst_id for one in positions if _has_fills(one)}
    sums = _Sums(account, known, to_sum)
    for fill in read(FILLS):
        sums.add_fill(fill)
    for order in read(ORDERS):
        yield from sums.check_order(order)
    yield from sums.fills_without_order()
    yield from _positions(account, positions, sums, known, now - LAG)
    yield from _bills(account, read(BILLS), read(BALANCES), known)


class _Filled:
    """The fills of one order: their sum, and the time of the last one."""

    __slots__ = ("inst_type", "last", "size", "sub_type")

    def __init__(self, fill: Fill) -> None:
        self.inst_type, self.sub_type = fill.inst_type, fill.sub_type
        self.size = Decimal(0)
        self.last: datetime | None = None


class _Sums:
    """Adds up an account's fills by order, and keeps those of some instruments.

    Args:
        instruments: Those with positions to be checked.
    """

    def __init__(self, account: str, known: Known, instruments: set[str | None]) -> None:
        self._account = account
        self._known = _cached(known)
        self._instruments = instruments
        self._filled: dict[tuple[str, str], _Filled] = {}
        self._fills: dict[str, list[Fill]] = {}
        self._orders: dict[str, Order] = {}  # of these instruments

    def add_fill(self, fill: Fill) -> None:
        key = fill.inst_id, fill.ord_id
        filled = self._filled.get(key) or self._filled.setdefault(key, _Filled(fill))
        filled.size += fill.fill_sz or 0
        if (at := _time_of(fill)) and (filled.last is None or at > filled.last):
            filled.last = at
        if fill.inst_id in self._instruments:
            self._fills.setdefault(fill.inst_id, []).append(fill)

    def check_order(self, order: Order) -> Iterator[Difference]:
        """Compare an order with the sum of its fills, unless some of them are of a time that is not known."""
        filled = self._filled.pop((order.inst_id or "", order.ord_id), None)
        if order.inst_id in self._instruments:
            self._orders[order.ord_id] = order
        size = filled.size if filled else Decimal(0)
        if order.c_time is None or size == (order.acc_fill_sz or 0):
            return
        if order.state == NOT_FOUND and size > (order.acc_fill_sz or 0):
            return  # its end is not known, so it may have been filled further
        changed = [at for at in (order.u_time, filled.last if filled else None) if at]
        life = order.c_time, max([order.c_time, *changed])
        if all(_within(self._known(kind, order.inst_type, order.inst_id), *life) for kind in (ORDERS, FILLS)):
            yield Difference(self._account, "orders", order.ord_id, "acc_fill_sz", _text(order.acc_fill_sz), str(size))

    def fills_without_order(self) -> Iterator[Difference]:
        """Yield an order for each that has fills and is not stored; call it after all orders were checked."""
        for (inst_id, ord_id), filled in sorted(self._filled.items()):
            at = filled.last
            if (
                belongs_to_order(ord_id, filled.sub_type)
                and at
                and _within(self._known(ORDERS, filled.inst_type, inst_id), at, at)
            ):
                yield Difference(self._account, "orders", ord_id, "", None, "present")

    def executions(self, inst_id: str) -> list[Execution]:
        """Return the fills of an instrument, each with what its order says about the position.

        They are in the order of trade ids, which tells those of one millisecond apart: a close, and what opens again.
        """
        found = []
        for fill in sorted(self._fills.get(inst_id, ()), key=_trade_number):
            order, at = self._orders.get(fill.ord_id), _time_of(fill)
            if at and fill.fill_sz:
                mode = order.td_mode if order else None
                found.append(
                    Execution(
                        *(at, fill.inst_type, mode, side_of(fill.pos_side), order.ccy if order else None),
                        *(fill.side == "buy", fill.fill_sz, fill.fill_px, fill.fee or Decimal(0), fill.fee_ccy),
                        bool(fill.fill_pnl),
                    )
                )
        return found


def _has_fills(position: Position) -> bool:
    """Whether a position is open, and was changed by a trade last: others were moved or delivered to the account."""
    return bool(position.pos and position.trade_id and position.c_time and position.u_time and position.inst_id)


def _positions(
    account: str, positions: Iterable[Position], sums: _Sums, known: Known, until: datetime
) -> Iterator[Difference]:
    """Compare positions with the sums of their fills, as of a moment at which both are known."""
    by_instrument: dict[str | None, list[Position]] = {}
    for position in positions:
        by_instrument.setdefault(position.inst_id, []).append(position)
    for position in filter(_has_fills, positions):
        assert position.c_time is not None
        assert position.u_time is not None
        assert position.inst_id is not None
        others = [one for one in by_instrument[position.inst_id] if one is not position]
        fills = own_fills(position, sums.executions(position.inst_id), others)
        row = _row(position.inst_type, position.inst_id)
        both = [_span_of(known.spans(kind, row), position.u_time) for kind in (POSITIONS, FILLS)]
        if fills is None or None in both:
            continue
        as_of = min(until, *(span.end for span in both if span))
        begin = max(span.begin for span in both[1:] if span)
        if position.c_time < begin or position.u_time > as_of - APART:
            continue
        if (size := difference(position, [fill for fill in fills if fill.at <= as_of])) is not None:
            yield Difference(account, "positions", position.pos_id, "pos", _text(position.pos), str(size))


def _bills(account: str, bills: Iterable[Bill], balances: Iterable[Balance], known: Known) -> Iterator[Difference]:
    by_ccy: dict[str, list[Bill]] = {}
    for bill in bills:
        if bill.ccy and bill.ts:
            by_ccy.setdefault(bill.ccy, []).append(bill)
    last: dict[str, tuple[datetime, frozenset[Decimal]]] = {}
    for ccy, of_one in by_ccy.items():
        of_one.sort(key=lambda bill: (bill.ts, len(bill.bill_id), bill.bill_id))
        for span in known.spans(BILLS, {"ccy": ccy}):
            for changes in _complete_runs(bill for bill in of_one if bill.ts and span.contains(bill.ts, bill.ts)):
                chain = Chain()
                for found in breaks_of(changes, chain):
                    yield _difference(account, found)
                if changes[-1].bill_id == of_one[-1].bill_id:
                    last[ccy] = changes[-1].ts, chain.ends
    for balance in balances:
        if balance.u_time is None or balance.ccy not in last:
            continue
        at, ends = last[balance.ccy]
        # Bills are not pushed: a balance that has changed since they were fetched is ahead of them.
        fetched = _span_of(known.spans(BILLS, {"ccy": balance.ccy}, fetched=True), balance.u_time + LAG)
        if fetched and fetched.contains(at, at) and balance.cash_bal is not None and balance.cash_bal not in ends:
            yield Difference(account, "balances", balance.ccy, "cash_bal", _text(balance.cash_bal), str(min(ends)))


def _complete_runs(bills: Iterable[Bill]) -> Iterator[list[Change]]:
    """Yield the bills, in runs that end where an amount is not known."""
    run: list[Change] = []
    for bill in bills:
        if bill.ts is not None and bill.bal is not None and bill.bal_chg is not None:
            run.append(Change(bill.bill_id, bill.ts, bill.bal_chg, bill.bal))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _difference(account: str, found: Break) -> Difference:
    return Difference(account, "bills", found.bill.bill_id, "bal", str(found.bill.bal), str(found.expected))


def _cached(known: Known) -> Callable[[Kind, str | None, str | None], tuple[Span, ...]]:
    found: dict[tuple[str, str | None, str | None], tuple[Span, ...]] = {}

    def spans(kind: Kind, inst_type: str | None, inst_id: str | None) -> tuple[Span, ...]:
        key = kind.table, inst_type, inst_id
        if key not in found:
            found[key] = known.spans(kind, _row(inst_type, inst_id))
        return found[key]

    return spans


def _row(inst_type: str | None, inst_id: str | None) -> dict[str, str | None]:
    return {"instType": inst_type, "instId": inst_id}


def _within(spans: Iterable[Span], begin: datetime, end: datetime) -> bool:
    return any(span.contains(begin, end) for span in spans)


def _span_of(spans: Iterable[Span], at: datetime) -> Span | None:
    return next((span for span in spans if span.contains(at, at)), None)


def _time_of(fill: Fill) -> datetime | None:
    return fill.fill_time or fill.ts


def _trade_number(fill: Fill) -> tuple[int, str]:
    """The ids of liquidations are negative."""
    digits = fill.trade_id.lstrip("-")
    return len(digits), digits


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)
