"""Balances and positions of one member: every change of a balance is one bill, and the bills add up.

``cash`` of a currency is the sum of ``balChg`` over its bills, always: only `post` changes it.
Fees and realized pnl are part of the bill of their trade, as at OKX (``balChg`` = pnl + fee for swaps, the amount plus
its fee for spot). The funding account has its own balances and asset bills under the same rule.

A `Position` is the net-mode sum of signed fills of one swap. Its ``posId`` stays over closes; each open-to-close
period is a `Cycle`, one row of positions-history. Average and pnl are rounded to 12 places once, where they arise.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from okxsync.sandbox.exchange.instruments import Instrument
from okxsync.sandbox.exchange.orders import ZERO, Algo, Fill, Movement, Order

PLACES = 12
"""Digits after the point of averages, fees and pnl."""


@dataclass(frozen=True, slots=True)
class Bill:
    """One change of a trading balance (OKX docs: trading-account-rest-api-get-bills-details-last-7-days)."""

    bill_id: str
    ts: int
    ccy: str
    type: str
    sub_type: str
    bal: Decimal
    bal_chg: Decimal
    pnl: Decimal = ZERO
    fee: Decimal = ZERO
    sz: Decimal | None = None
    px: Decimal | None = None
    pos_bal: Decimal | None = None
    pos_bal_chg: Decimal | None = None
    instrument: Instrument | None = None
    order: Order | None = None
    fill: Fill | None = None
    mgn_mode: str = ""
    sent_from: str = ""
    sent_to: str = ""


@dataclass(frozen=True, slots=True)
class AssetBill:
    """One change of a funding balance; type 1 deposit, 2 withdrawal, 130 from trading, 131 to trading."""

    bill_id: str
    ts: int
    ccy: str
    type: str
    bal: Decimal
    bal_chg: Decimal


@dataclass(slots=True, eq=False)
class Cycle:
    """One life of a position from opening to full close, with its totals."""

    direction: str
    c_time: int
    u_time: int
    open_avg_px: Decimal = ZERO
    open_max: Decimal = ZERO
    closed: Decimal = ZERO
    close_value: Decimal = ZERO  # sum of px x contracts closed
    pnl: Decimal = ZERO
    fee: Decimal = ZERO
    funding: Decimal = ZERO
    done: bool = False
    ended_by: str = "2"  # type of its row once done: 2 closed, 3 liquidated, 5 auto-deleveraged

    @property
    def realized(self) -> Decimal:
        return self.pnl + self.fee + self.funding


@dataclass(slots=True, eq=False)
class Position:
    """The net position in one swap; `pos` is in contracts, its sign is the direction, zero is closed."""

    instrument: Instrument
    pos_id: str
    lever: str
    mgn_mode: str = "cross"
    pos: Decimal = ZERO
    avg_px: Decimal = ZERO
    trade_id: str = ""
    c_time: int = 0
    u_time: int = 0
    cycles: list[Cycle] = field(default_factory=list)

    def apply(self, change: Decimal, px: Decimal, fee: Decimal, now: int) -> Decimal:
        """Add a signed fill and return the pnl it realizes; a fill through zero closes a cycle and opens the next.

        The fee of a flip belongs to the two cycles in proportion.
        """
        closing = min(abs(change), abs(self.pos)).copy_sign(change) if self.pos * change < 0 else ZERO
        opening = change - closing
        pnl = ZERO
        self.u_time = now
        if closing:
            cycle = self.cycles[-1]
            pnl = round((self.avg_px - px) * closing * self.instrument.ct_val, PLACES)
            closing_fee = round(fee * closing / change, PLACES)
            fee -= closing_fee
            self.pos += closing
            cycle.closed += abs(closing)
            cycle.close_value += abs(closing) * px
            cycle.pnl += pnl
            cycle.fee += closing_fee
            cycle.u_time = now
            cycle.done = not self.pos
        if opening:
            if not self.pos:
                self.avg_px, self.c_time = ZERO, now
                self.cycles.append(Cycle("long" if opening > 0 else "short", now, now))
            held = self.pos + opening
            self.avg_px = round((self.pos * self.avg_px + opening * px) / held, PLACES)
            self.pos = held
            cycle = self.cycles[-1]
            cycle.open_avg_px, cycle.open_max = self.avg_px, max(cycle.open_max, abs(held))
            cycle.fee += fee
            cycle.u_time = now
        return pnl

    def upl(self, mark: Decimal) -> Decimal:
        """Unrealized pnl at a price, in the settlement currency."""
        return (mark - self.avg_px) * self.pos * self.instrument.ct_val

    def margin(self, mark: Decimal) -> Decimal:
        """Initial margin at a price, in the settlement currency."""
        return self.instrument.value(abs(self.pos), mark) / Decimal(self.lever)


@dataclass(slots=True, eq=False)
class Account:
    """The state of one member. Lists are oldest first; `pending` indexes the pending orders."""

    uid: str
    cash: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    cash_time: dict[str, int] = field(default_factory=dict)
    change_time: dict[str, int] = field(default_factory=dict)  # also of what is frozen
    funds: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    bills: list[Bill] = field(default_factory=list)
    asset_bills: list[AssetBill] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    pending: dict[str, Order] = field(default_factory=dict)
    client_ids: dict[str, Order] = field(default_factory=dict)  # newest order of a clOrdId
    fills: list[tuple[Order, Fill]] = field(default_factory=list)
    algos: dict[str, Algo] = field(default_factory=dict)
    waiting: dict[str, Algo] = field(default_factory=dict)
    positions: dict[tuple[str, str], Position] = field(default_factory=dict)
    deposits: list[Movement] = field(default_factory=list)
    withdrawals: list[Movement] = field(default_factory=list)

    def post(self, bill_id: str, ts: int, ccy: str, kind: str, sub_type: str, change: Decimal, **more: Any) -> Bill:
        """Change a trading balance by a bill; `more` are the bill's other fields."""
        self.cash[ccy] += change
        self.cash_time[ccy] = ts
        self.bills.append(Bill(bill_id, ts, ccy, kind, sub_type, self.cash[ccy], change, **more))
        return self.bills[-1]

    def post_asset(self, bill_id: str, ts: int, ccy: str, kind: str, change: Decimal) -> AssetBill:
        """Change a funding balance by an asset bill."""
        self.funds[ccy] += change
        self.asset_bills.append(AssetBill(bill_id, ts, ccy, kind, self.funds[ccy], change))
        return self.asset_bills[-1]

    def position(self, instrument: Instrument, mgn_mode: str) -> Position | None:
        return self.positions.get((instrument.inst_id, mgn_mode))

    def reserved(self) -> dict[str, Decimal]:
        """What pending orders hold back, by currency."""
        held: defaultdict[str, Decimal] = defaultdict(Decimal)
        for order in self.pending.values():
            ccy, amount = reserve_of(order)
            held[ccy] += amount
        return held


def reserve_of(order: Order) -> tuple[str, Decimal]:
    """Return the currency and the amount that the rest of a limit order holds back."""
    instrument = order.instrument
    if order.px is None or order.reduce_only:
        return instrument.quote, ZERO
    if instrument.is_swap:
        return instrument.quote, instrument.value(order.left, order.px) / Decimal(order.lever)
    return (instrument.quote, order.left * order.px) if order.buys else (instrument.base, order.left)
